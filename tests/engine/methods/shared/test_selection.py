"""What selections share: which images are read, how, and what is said of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from limbeck.arrays import Features, Images
from limbeck.data.base import Fit
from limbeck.data.imagefolder import ImageFolder
from limbeck.errors import ConfigError, EngineError
from limbeck.methods.base import DistilledImages
from limbeck.methods.herding import Herding
from limbeck.methods.kcenter import KCenter
from limbeck.methods.medoid import Medoid
from limbeck.methods.random_real import RandomReal
from limbeck.methods.shared.selection import Selection, normalized
from limbeck.models import Models
from limbeck.testing.contract import Subject, memory_stays_within_what_it_foretold
from limbeck.testing.counting import counted
from limbeck.testing.models import LinearBackbone, closed_form_models
from limbeck.testing.sources import ArraySource, blobs

KINDS = (RandomReal, Herding, KCenter, Medoid)


@pytest.fixture
def source(rng: np.random.Generator) -> ArraySource:
    return ArraySource({f"class {i}": blobs(rng, center=0.4 + 0.1 * i, count=20 + i) for i in range(2)})


def chosen(method: Selection, source: ArraySource) -> list[DistilledImages]:
    events = method.distill(method.units(source), source, closed_form_models(needs=method.needs))
    return [event for event in events if isinstance(event, DistilledImages)]


def names(made: DistilledImages) -> list[object]:
    return [row["source_image"] for row in made.rows]


@pytest.mark.parametrize("kind", KINDS)
def test_images_are_the_real_ones_that_their_rows_name(kind: type[Selection], source: ArraySource) -> None:
    for class_id, made in enumerate(chosen(kind(ipc=5), source)):
        real = next(source.images(class_id, size=16, fit="crop", batch=100))
        by_name = dict(zip(source.names(class_id), real, strict=True))
        assert all(
            np.array_equal(image, by_name[str(name)]) for image, name in zip(made.images, names(made), strict=True)
        )


@pytest.mark.parametrize("kind", KINDS)
def test_no_image_is_chosen_twice_even_if_all_look_alike(kind: type[Selection]) -> None:
    alike = ArraySource({"class 0": np.full((6, 3, 16, 16), 0.5, np.float32)})
    (made,) = chosen(kind(ipc=6), alike)
    assert len(set(names(made))) == 6


@pytest.mark.parametrize("kind", [RandomReal, Herding, KCenter])
def test_a_smaller_set_is_the_beginning_of_a_larger_one(kind: type[Selection], source: ArraySource) -> None:
    for few, many in zip(chosen(kind(ipc=3), source), chosen(kind(ipc=12), source), strict=True):
        assert names(few) == names(many)[:3]


class _Asked(ArraySource):
    """A source that writes down at which size, in which fit and how far it is read."""

    def __init__(self, classes: dict[str, Images]) -> None:
        super().__init__(classes)
        self.asked: list[tuple[int, Fit]] = []
        self.batches = 0

    def images(self, class_id: int, *, size: int, fit: Fit, batch: int) -> Iterator[Images]:
        self.asked.append((size, fit))
        for images in super().images(class_id, size=size, fit=fit, batch=batch):
            self.batches += 1
            yield images


@pytest.mark.parametrize("kind", [Herding, KCenter, Medoid])
def test_features_are_of_images_read_as_the_evaluation_reads_them(
    kind: type[Selection], rng: np.random.Generator
) -> None:
    asked = _Asked({"class 0": blobs(rng, center=0.5, count=6)})
    chosen(kind(ipc=2), asked)
    assert asked.asked == [(8, "squash"), (16, "crop")]


def test_random_images_are_read_no_further_than_the_last_of_them(rng: np.random.Generator) -> None:
    asked = _Asked({"class 0": blobs(rng, center=0.5, count=400)})
    (made,) = chosen(RandomReal(ipc=1), asked)
    position = int(str(names(made)[0]).split("/")[1])
    assert asked.batches == position // 4 + 1


def test_random_calls_no_network_at_all(source: ArraySource) -> None:
    models, calls = counted(closed_form_models())
    method = RandomReal(ipc=2)
    list(method.distill(method.units(source), source, models))
    assert not calls


@pytest.mark.parametrize("kind", [Herding, KCenter, Medoid])
def test_its_work_counts_the_calls_of_the_backbone(kind: type[Selection], source: ArraySource) -> None:
    models, calls = counted(closed_form_models(bucket=4))
    method = kind(ipc=2)
    list(method.distill(method.units(source), source, models))
    assert method.work(source, models).feature_calls(4) == calls["backbone.features"]


def test_features_beyond_the_scratch_memory_are_refused(source: ArraySource) -> None:
    with pytest.raises(ConfigError, match="take 672 bytes; scratch_bytes allows 100: raise it"):
        Herding(ipc=1, scratch_bytes=100).check(source, closed_form_models())


@pytest.mark.parametrize("kind", [Herding, KCenter, Medoid])
def test_memory_stays_as_foretold_with_a_wide_backbone(kind: type[Selection]) -> None:
    def wide(**how: Any) -> Models:
        return dataclasses.replace(closed_form_models(**how), backbone=LinearBackbone(num_features=2000))

    memory_stays_within_what_it_foretold(Subject(kind, models=wide))


def test_rows_of_a_folder_name_its_files(tmp_path: Path) -> None:
    (tmp_path / "cats").mkdir()
    for i in range(3):
        Image.new("RGB", (16, 16), (80 * i,) * 3).save(tmp_path / f"cats/{i}.png")
    folder = ImageFolder(tmp_path)
    method = RandomReal(ipc=3)
    events = method.distill(method.units(folder), folder, closed_form_models())
    (made,) = [event for event in events if isinstance(event, DistilledImages)]
    assert sorted(map(str, names(made))) == ["cats/0.png", "cats/1.png", "cats/2.png"]


def test_lengths_become_one_and_zeros_stay() -> None:
    features = np.array([[3.0, 4.0], [0.0, 0.0]], np.float32)
    np.testing.assert_allclose(normalized(features), [[0.6, 0.8], [0, 0]])


def test_normalized_features_choose_by_direction_alone(rng: np.random.Generator) -> None:
    """Brighter copies of the same images have longer features of the same direction, and are chosen alike."""
    images = blobs(rng, center=0.3, count=12)
    plain, brighter = (
        chosen(KCenter(ipc=4, normalize=True), ArraySource({"a": part})) for part in (images, 2 * images)
    )
    assert names(plain[0]) == names(brighter[0])


def test_features_that_are_not_finite_are_refused(source: ArraySource) -> None:
    class Broken(LinearBackbone):
        def features(self, images: Images) -> Features:
            return np.full_like(super().features(images), np.nan)

    method = Herding(ipc=1)
    models = dataclasses.replace(closed_form_models(), backbone=Broken())
    with pytest.raises(EngineError, match="the backbone gave values that are not finite"):
        list(method.distill(method.units(source), source, models))


def test_settings_that_cannot_work_are_refused_at_once() -> None:
    with pytest.raises(ConfigError, match="ipc must be at least 1, got 0"):
        dataclasses.replace(RandomReal(ipc=1), ipc=0)
