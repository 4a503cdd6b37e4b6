"""What every method owes its runner, run on each of them.

The models are closed forms, so a method is tested here without a network.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest

from limbeck.arrays import Images
from limbeck.data.base import ImageSource
from limbeck.errors import DataError, LimbeckError
from limbeck.methods import METHODS, make_method
from limbeck.methods.base import DistilledImages, Method, Progress, Unit
from limbeck.models import Models
from support.models import gaussian_models
from support.sources import ArraySource, blobs

QUICK = {"d4m": {"num_steps": 10}, "d3hr": {"num_steps": 10, "num_groups": 20}}
"""Settings of every method with which it takes a moment."""

CASES = [(name, preset) for name in METHODS for preset in ("default", "faithful")]


@pytest.fixture(params=CASES, ids=lambda case: "-".join(case))
def method(request: pytest.FixtureRequest) -> Method:
    name, preset = request.param
    return make_method(name, ipc=3, seed=5, preset=preset, settings=QUICK[name])


@pytest.fixture
def source() -> ArraySource:
    rng = np.random.default_rng(0)
    return ArraySource({f"class {i}": blobs(rng, center=0.3 + 0.2 * i, count=9 + i) for i in range(3)})


def distill(
    method: Method, source: ImageSource, models: Models, units: Iterable[Unit] | None = None
) -> dict[int, Images]:
    made = method.distill(list(units or method.units(source)), source, models)
    return {event.unit.index: event.images for event in made if isinstance(event, DistilledImages)}


def test_every_unit_is_made_once_in_order_with_its_images_and_labels(method: Method, source: ArraySource) -> None:
    events = list(method.distill(method.units(source), source, gaussian_models()))
    made = [event for event in events if isinstance(event, DistilledImages)]
    assert [event.unit for event in made] == list(method.units(source))
    labels = [event.class_ids for event in made]
    assert labels == [(0, 0, 0), (1, 1, 1), (2, 2, 2)]
    assert all(event.images.shape == (3, 3, 16, 16) and event.images.dtype == np.float32 for event in made)
    assert all(event.images.min() >= 0 and event.images.max() <= 1 for event in made)


def test_every_image_has_its_seed_and_index_written_down(method: Method, source: ArraySource) -> None:
    for event in method.distill(method.units(source), source, gaussian_models()):
        if isinstance(event, DistilledImages):
            assert [(row["seed"], row["index"]) for row in event.rows] == [(5, 0), (5, 1), (5, 2)]


def test_progress_counts_up_to_its_total(method: Method, source: ArraySource) -> None:
    steps = [e for e in method.distill(method.units(source), source, gaussian_models()) if isinstance(e, Progress)]
    assert steps
    assert all(0 <= step.done <= step.total for step in steps)


def test_a_run_repeats_bit_for_bit(method: Method, source: ArraySource) -> None:
    first, second = (distill(method, source, gaussian_models()) for _ in range(2))
    assert all(np.array_equal(first[unit], second[unit]) for unit in first)


def test_a_unit_does_not_depend_on_which_units_ran_before_it(method: Method, source: ArraySource) -> None:
    models = gaussian_models()
    whole = distill(method, source, models)
    for unit in method.units(source):
        assert np.array_equal(distill(method, source, models, [unit])[unit.index], whole[unit.index])
    backwards = distill(method, source, models, reversed(method.units(source)))
    assert all(np.array_equal(backwards[unit], whole[unit]) for unit in whole)


def test_a_class_does_not_depend_on_the_other_classes_of_the_source(method: Method, source: ArraySource) -> None:
    models = gaussian_models()
    alone = ArraySource({"class 1": next(source.images(1, size=16, fit="crop", batch=100))})
    assert np.array_equal(distill(method, alone, models)[0], distill(method, source, models)[1])


def test_another_seed_gives_other_images(method: Method, source: ArraySource) -> None:
    other = make_method(method.name, ipc=3, seed=6, settings=QUICK[method.name])
    assert not np.array_equal(
        distill(method, source, gaussian_models())[0], distill(other, source, gaussian_models())[0]
    )


def test_a_class_smaller_than_ipc_is_named_before_anything_runs(method: Method) -> None:
    few = ArraySource({"class 0": blobs(np.random.default_rng(0), center=0.5, count=2)})
    with pytest.raises(DataError, match="class 'class 0' has 2 images, fewer than ipc=3"):
        method.check(few, gaussian_models())


def test_a_class_that_the_networks_do_not_know_is_named_before_anything_runs(method: Method) -> None:
    foreign = ArraySource({"zebra": blobs(np.random.default_rng(0), center=0.5, count=4)})
    with pytest.raises(LimbeckError, match="zebra"):
        method.check(foreign, gaussian_models())
