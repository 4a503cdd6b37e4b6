"""The reconstruction of DDPS on closed forms: Gaussian classes, a codec of block means, squares as features."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from limbeck.errors import ConfigError, DataError, EngineError
from limbeck.methods.base import DistilledImages, Progress
from limbeck.methods.ddps import DDPS, RECONSTRUCTION
from limbeck.models import Models
from support.gaussian import Recorded
from support.models import gaussian_models
from support.sources import ArraySource, BlockCodec, blobs

QUICK = {"num_draws": 3, "feature_draws": 2}


@pytest.fixture
def source() -> ArraySource:
    rng = np.random.default_rng(1)
    return ArraySource({f"class {i}": blobs(rng, center=0.3 + 0.2 * i, count=12) for i in range(2)})


def units(method: DDPS, source: ArraySource, models: Models | None = None) -> list[DistilledImages]:
    models = models or gaussian_models()
    method.check(source, models)
    events = method.distill(method.units(source), source, models)
    return [event for event in events if isinstance(event, DistilledImages)]


@pytest.mark.parametrize("parts", [1, 2])
def test_a_smaller_set_is_the_beginning_of_a_larger_one(source: ArraySource, parts: int) -> None:
    settings = {"parts": parts, "window_side": 0.25, "clusters": 4, **QUICK}
    one, ten = (units(DDPS(ipc=ipc, **settings), source) for ipc in (1, 10))
    for few, many in zip(one, ten, strict=True):
        np.testing.assert_array_equal(few.images, many.images[:1])
        assert few.rows[0] == many.rows[0]


def test_the_list_is_the_same_in_any_bucket(source: ArraySource) -> None:
    lists = []
    for bucket in (1, 4, 7):
        made = units(DDPS(ipc=6, **QUICK), source, gaussian_models(bucket=bucket))
        lists.append([(row["source_images"], row["windows"]) for unit in made for row in unit.rows])
    assert lists[0] == lists[1] == lists[2]


def test_no_window_is_taken_twice_and_those_of_one_image_do_not_overlap(source: ArraySource) -> None:
    for unit in units(DDPS(ipc=12, parts=1, window_side=0.5, **QUICK), source):
        taken: dict[str, list[list[float]]] = {}
        for row in unit.rows:
            (name,), (window,) = row["source_images"], row["windows"]
            for top, left, side in taken.setdefault(name, []):
                assert max(abs(top - window[0]), abs(left - window[1])) >= side - 1e-4
            taken[name].append(window)


def test_images_of_another_class_are_the_least_typical() -> None:
    rng = np.random.default_rng(0)
    own, foreign = blobs(rng, center=0.25, count=8), blobs(rng, center=0.75, count=2)
    source = ArraySource({"class 0": np.concatenate([own, foreign])})
    (unit,) = units(DDPS(ipc=8, parts=1, window_side=1.0, windows_per_class=8, clusters=1, **QUICK), source)
    assert {row["source_images"][0] for row in unit.rows} == {f"class 0/{i}" for i in range(8)}


def test_both_predictions_are_asked_at_the_same_times_and_a_grid_is_the_same_for_every_image(
    source: ArraySource,
) -> None:
    models = gaussian_models(bucket=3)
    recorded = Recorded(models.denoiser)
    units(DDPS(ipc=1, **QUICK), source, dataclasses.replace(models, denoiser=recorded))
    assert {tuple(times) for times in recorded.times} == {(200, 400, 600) * 2}


def test_uniform_times_lie_in_the_range_and_differ_from_image_to_image(source: ArraySource) -> None:
    models = gaussian_models(bucket=3)
    recorded = Recorded(models.denoiser)
    method = DDPS(ipc=1, times="uniform", time_range=(0.1, 0.3), **QUICK)
    units(method, source, dataclasses.replace(models, denoiser=recorded))
    assert all(100 <= time < 300 for times in recorded.times for time in times)
    assert len({tuple(times) for times in recorded.times}) == 24


def test_patches_are_cut_from_the_images_that_the_rows_name(source: ArraySource) -> None:
    (unit, _) = units(DDPS(ipc=2, parts=2, window_side=0.5, **QUICK), source)
    real = next(source.images(0, size=16, fit="crop", batch=100))
    for image, row in zip(unit.images, unit.rows, strict=True):
        quadrants = [image[:, y : y + 8, x : x + 8] for y in (0, 8) for x in (0, 8)]
        for quadrant, name, (top, left, side) in zip(quadrants, row["source_images"], row["windows"], strict=True):
            y, x, length = (round(16 * place) for place in (top, left, side))
            np.testing.assert_array_equal(quadrant, real[int(name.split("/")[1])][:, y : y + length, x : x + length])


def test_every_image_says_that_it_is_a_reconstruction(source: ArraySource) -> None:
    for unit in units(DDPS(ipc=1, **QUICK), source):
        assert all(row["note"] == RECONSTRUCTION for row in unit.rows)
    assert "RECONSTRUCTION" in str(DDPS.__doc__).upper()


def test_every_image_says_of_which_block_the_features_were(source: ArraySource) -> None:
    models = gaussian_models()
    models.features.block = 3  # type: ignore[misc]
    rows = [row for unit in units(DDPS(ipc=1, **QUICK), source, models) for row in unit.rows]
    assert [row["features_block"] for row in rows] == [3, 3]


def test_faithful_has_the_numbers_of_what_it_is_made_of() -> None:
    method = DDPS.faithful(ipc=10)
    assert (method.num_draws, method.time_range, method.times) == (100, (0.1, 0.7), "uniform")
    assert (method.windows_per_image, method.windows_per_class, method.clusters) == (5, 1000, 32)
    assert (method.feature_time, method.feature_draws, method.window_side) == (161, 8, 0.5)


def test_nothing_is_decoded(source: ArraySource) -> None:
    class EncodesOnly(BlockCodec):
        def decode(self, latents: np.ndarray) -> np.ndarray:
            raise AssertionError("a selection makes no image")

    units(DDPS(ipc=1, **QUICK), source, dataclasses.replace(gaussian_models(), codec=EncodesOnly()))


def test_its_work_counts_the_samples_that_it_asks_for(source: ArraySource) -> None:
    models = gaussian_models(bucket=4)
    recorded = Recorded(models.denoiser)
    method = DDPS(ipc=1, **QUICK)
    units(method, source, dataclasses.replace(models, denoiser=recorded))
    asked = sum(len(times) for times in recorded.times)
    (walk,) = method.work(source, models).walks
    assert walk.samples * sum(walk.step_rows) == asked


def test_more_images_than_windows_are_refused_with_what_would_work() -> None:
    source = ArraySource({"class 0": blobs(np.random.default_rng(0), center=0.5, count=4)})
    with pytest.raises(DataError, match=r"4 windows that do not overlap, ipc=4 images of 2 by 2 need 16.*parts=1"):
        units(DDPS(ipc=4, parts=2, window_side=1.0, **QUICK), source)


def test_scores_that_are_not_finite_are_refused(source: ArraySource) -> None:
    broken = dataclasses.replace(gaussian_models(), denoiser=lambda z, t, c: np.full_like(z, np.nan))
    with pytest.raises(EngineError, match="not finite"):
        units(DDPS(ipc=1, **QUICK), source, broken)


def test_progress_of_scoring_counts_the_images(source: ArraySource) -> None:
    method = DDPS(ipc=1, **QUICK)
    events = method.distill(method.units(source)[:1], source, gaussian_models())
    done = [event.done for event in events if isinstance(event, Progress) and event.stage == "score class 0"]
    assert done[-1] == 12


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ipc": 0}, "ipc must be at least 1, got 0"),
        ({"ipc": 1, "parts": 0}, "parts must be at least 1, or None"),
        ({"ipc": 1, "window_side": 0.0}, "window_side must be a fraction"),
        ({"ipc": 1, "time_range": (0.7, 0.1)}, "time_range must be two rising fractions"),
    ],
)
def test_settings_that_cannot_work_are_refused_at_once(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DDPS(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"feature_time": 1000}, "feature_time=1000 is no time of the schedule: 0..999"),
        ({"parts": 3}, "images of 16 pixels cannot be composed of parts=3"),
        ({"window_side": 0.01}, "window_side=0.01 of 16 pixels is no window"),
        ({"scratch_bytes": 100}, "scratch_bytes allows 100"),
    ],
)
def test_what_the_networks_cannot_do_is_refused_by_the_check(
    source: ArraySource, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        DDPS(ipc=1, **settings).check(source, gaussian_models())  # type: ignore[arg-type]
