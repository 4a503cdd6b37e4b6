"""Planning the mini pack: what is measured, what is remembered, and what a plan without a budget says."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from limbeck.backends.onnxruntime import OnnxRuntime
from limbeck.cache import Cache
from limbeck.data.source import open_source
from limbeck.data.stored import StoredSource
from limbeck.diffusion.step_cache import StepCache
from limbeck.errors import BudgetError, ConfigError
from limbeck.memory.process import usage
from limbeck.memory.work import Walk, Work
from limbeck.methods.d4m import D4M
from limbeck.pack import Pack
from limbeck_server.runner.planning import Planner, refuse_short

METHOD = D4M(ipc=1, num_steps=4)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> StoredSource:
    root = tmp_path_factory.mktemp("photos")
    for digit in "01":
        (root / digit).mkdir()
        pixels = np.random.default_rng(0).integers(0, 255, (20, 20, 3), np.uint8)
        Image.fromarray(pixels).save(root / digit / "0.png")
    return open_source(root)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return Cache(tmp_path_factory.mktemp("cache"))


def planner(cache: Cache, budget_nbytes: int | None, bucket: int | None = None) -> Planner:
    backend = OnnxRuntime(threads=1)
    return Planner(pack=Pack.open("mini"), backend=backend, budget_nbytes=budget_nbytes, bucket=bucket, cache=cache)


def work(num_steps: int) -> Work:
    walk = Walk(samples=1, step_rows=(2,) * num_steps)
    return Work(class_images=(1,), images_per_class=1, walks=(walk,), condition_times=num_steps, scratch_nbytes=0)


def test_a_plan_is_the_same_when_its_profiles_are_remembered(source: StoredSource, cache: Cache) -> None:
    made = [planner(cache, 4 * 2**30).plan(METHOD, source, picture_nbytes=0) for _ in range(2)]
    assert made[0].layout == made[1].layout
    assert made[0].seconds == made[1].seconds


def test_the_parts_of_a_plan_begin_with_this_process(source: StoredSource, cache: Cache) -> None:
    made = planner(cache, 4 * 2**30).plan(METHOD, source, picture_nbytes=0)
    assert made.parts["process"] == pytest.approx(usage().private_nbytes, rel=0.1)


def test_without_a_budget_the_plan_is_what_happens_without_one(source: StoredSource, cache: Cache) -> None:
    layout = planner(cache, None, bucket=2).plan(METHOD, source, picture_nbytes=0).layout
    assert (layout.bucket, layout.codec_bucket, len(layout.groups)) == (2, 2, 1)


def test_a_budget_that_leaves_nothing_for_an_engine_is_refused(source: StoredSource, cache: Cache) -> None:
    budget = usage().private_nbytes + 2**20  # the child is smaller than this process, and has room for little
    with pytest.raises(BudgetError, match="nothing fits in"):
        planner(cache, budget).plan(METHOD, source, picture_nbytes=0)


def test_a_walk_that_is_too_short_for_a_step_cache_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least 25 steps, this one has 24"):
        refuse_short(work(24), StepCache())


def test_without_a_step_cache_no_walk_is_too_short() -> None:
    refuse_short(work(1), None)
