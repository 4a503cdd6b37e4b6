"""RDED with a linear backbone, against scikit-learn."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from limbeck.errors import ConfigError
from limbeck.methods.base import DistilledImages
from limbeck.methods.rded import RDED, best_crops
from limbeck.methods.shared.windows import Window, cut
from limbeck.models import Models
from support.models import LinearBackbone, gaussian_models
from support.sources import ArraySource, blobs


class Watched(LinearBackbone):
    """Keeps the images that it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[np.ndarray] = []

    def features(self, images: np.ndarray) -> np.ndarray:
        self.shown.extend(images)
        return super().features(images)


@pytest.fixture
def source() -> ArraySource:
    rng = np.random.default_rng(1)
    return ArraySource({f"class {i}": blobs(rng, center=0.3 + 0.1 * i, count=10) for i in range(3)})


def units(method: RDED, source: ArraySource, models: Models | None = None) -> list[DistilledImages]:
    models = models or gaussian_models()
    method.check(source, models)
    events = method.distill(method.units(source), source, models)
    return [event for event in events if isinstance(event, DistilledImages)]


def test_a_smaller_set_is_the_beginning_of_a_larger_one(source: ArraySource) -> None:
    for parts in (1, 2):
        few, many = (units(RDED(ipc=ipc, parts=parts), source) for ipc in (1, 7))
        for one, other in zip(few, many, strict=True):
            np.testing.assert_array_equal(one.images, other.images[:1])


def test_the_crops_have_the_lowest_cross_entropy_of_a_logistic_regression_on_all_classes(source: ArraySource) -> None:
    method = RDED(ipc=10, parts=1)
    backbone = LinearBackbone()
    real = [next(source.images(i, size=8, fit="crop", batch=100)) for i in range(3)]
    teacher = LogisticRegression().fit(backbone.features(np.concatenate(real)), np.repeat(np.arange(3), 10))
    for class_id, unit in enumerate(units(method, source)):
        found = []
        for row in unit.rows:
            (name,), ((top, left, side),), (loss,) = row["source_images"], row["windows"], row["cross_entropies"]
            crop = cut(real[class_id][int(name.split("/")[1])], Window(0, top, left, side, 0.0), 8)
            expected = -teacher.predict_log_proba(backbone.features(crop[None]))[0, class_id]
            assert loss == pytest.approx(expected, abs=5e-3)
            found.append(loss)
        assert found == sorted(found)
        assert len({row["source_images"][0] for row in unit.rows}) == 10, "one crop of each image"


def test_second_best_crops_follow_when_the_images_are_used_up() -> None:
    scores = {0: [0.9, 0.8, 0.1], 1: [0.7, 0.2], 2: [0.3]}
    crops = [Window(image, 0.0, 0.0, 1.0, score) for image, found in scores.items() for score in found]
    assert [crop.score for crop in best_crops(crops, 5)] == [0.9, 0.7, 0.3, 0.8, 0.2]


def test_crops_are_squares_inside_the_image_of_the_areas_that_were_asked_for() -> None:
    method = RDED(ipc=1, crops=200, scale=(0.25, 0.5))
    windows = method._windows("class 0", 3)
    areas = [window.side**2 for window in windows]
    assert 0.25 <= min(areas) < 0.3
    assert 0.45 < max(areas) <= 0.5
    assert all(place >= 0 and place + window.side <= 1 for window in windows for place in (window.top, window.left))
    assert {window.image for window in windows} == {3}


def test_only_candidates_are_looked_at(source: ArraySource) -> None:
    backbone = Watched()
    models = dataclasses.replace(gaussian_models(), backbone=backbone)
    made = units(RDED(ipc=2, candidates=4, crops=3, parts=1), source, models)
    assert len(backbone.shown) == 3 * 4 * (1 + 3)
    assert all(len({row["source_images"][0] for row in unit.rows}) == 2 for unit in made)


def test_a_padded_crop_is_shown_at_the_size_of_a_patch_amid_black(source: ArraySource) -> None:
    backbone = Watched()
    models = dataclasses.replace(gaussian_models(), backbone=backbone)
    method = dataclasses.replace(RDED.faithful(ipc=1), parts=2)
    units(method, source, models)
    crops = np.stack(backbone.shown[30:])
    inside = np.zeros((8, 8), bool)
    inside[2:6, 2:6] = True
    assert (crops[:, :, inside] > 0).all()
    assert not crops[:, :, ~inside].any()


def test_the_faithful_preset_has_the_releases_numbers() -> None:
    method = RDED.faithful(ipc=10)
    assert (method.candidates, method.crops, method.scale) == (300, 5, (0.08, 1.0))
    assert (method.padded, method.order, method.fit) == (True, "strided", "crop")
    assert method.parts is None, "2, and 1 up to 64 pixels"


def test_the_faithful_composition_is_no_prefix_but_has_the_same_crops(source: ArraySource) -> None:
    near = dataclasses.replace(RDED.faithful(ipc=2), parts=2, order="consecutive")
    apart = dataclasses.replace(near, order="strided")
    for one, other in zip(units(near, source), units(apart, source), strict=True):
        losses = [np.array([row["cross_entropies"] for row in unit.rows]) for unit in (one, other)]
        np.testing.assert_array_equal(losses[0].reshape(4, 2).T, losses[1])


def test_all_classes_have_the_same_teacher_whichever_are_made(source: ArraySource) -> None:
    method = RDED(ipc=1)
    whole = units(method, source)
    last = method.distill(method.units(source)[2:], source, gaussian_models())
    (alone,) = (event for event in last if isinstance(event, DistilledImages))
    np.testing.assert_array_equal(alone.images, whole[2].images)


def test_its_work_counts_the_rows_that_the_backbone_gets(source: ArraySource) -> None:
    backbone = Watched()
    models = dataclasses.replace(gaussian_models(bucket=1), backbone=backbone)
    method = RDED(ipc=1)
    units(method, source, models)
    assert method.work(source, models).feature_calls(1) == len(backbone.shown)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ipc": 0}, "ipc must be at least 1, got 0"),
        ({"ipc": 1, "scale": (0.5, 0.1)}, "scale must be two rising fractions"),
    ],
)
def test_settings_that_cannot_work_are_refused_at_once(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RDED(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ipc": 10, "parts": 2, "crops": 1}, "10 crops, ipc=10 images of 2 by 2 need 40; raise candidates or crops"),
        ({"ipc": 1, "scratch_bytes": 100}, "scratch_bytes allows 100"),
        ({"ipc": 1, "parts": 5}, "parts=5"),
    ],
)
def test_what_cannot_be_made_is_refused_by_the_check(
    source: ArraySource, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        RDED(**settings).check(source, gaussian_models())  # type: ignore[arg-type]
