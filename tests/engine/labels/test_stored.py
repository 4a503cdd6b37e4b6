"""Soft labels: what is stored is what the teacher says of exactly these pixels, and other pixels are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from limbeck.errors import DataError
from limbeck.labels.pixels import Pixels
from limbeck.labels.relabel import relabel
from limbeck.labels.stored import StoredLabels, read_labels, write_labels
from limbeck.labels.views import view
from support.pixels import ColorTeacher, colored


@pytest.fixture
def pixels(rng: np.random.Generator) -> Pixels:
    return colored(rng, ipc=4)


def labeled(pixels: Pixels, *, epochs: int = 3, seed: int = 0) -> StoredLabels:
    return relabel(
        pixels, ColorTeacher(), epochs=epochs, batch_size=5, crop_scale=(0.3, 1.0), cutmix_beta=1.0, seed=seed
    )


def test_stored_logits_are_those_of_the_images_that_are_shown_again(pixels: Pixels) -> None:
    stored = labeled(pixels)
    for epoch in range(3):
        for rows, views, mix, logits in stored.batches(epoch):
            shown = mix.images(view(pixels.floats(rows), views))
            np.testing.assert_allclose(ColorTeacher().logits(shown), logits, rtol=2e-3, atol=2e-3)


def test_every_epoch_shows_every_image_once(pixels: Pixels) -> None:
    for epoch in range(3):
        rows = np.concatenate([part[0] for part in labeled(pixels).batches(epoch)])
        assert sorted(rows.tolist()) == list(range(12))


def test_an_epoch_does_not_depend_on_how_many_there_are(pixels: Pixels) -> None:
    few, many = labeled(pixels, epochs=1), labeled(pixels, epochs=3)
    np.testing.assert_array_equal(few.logits[0], many.logits[0])
    np.testing.assert_array_equal(few.mix_boxes[0], many.mix_boxes[0])


def test_labels_read_back_as_they_were_written_and_the_bytes_are_the_same(pixels: Pixels, tmp_path: Path) -> None:
    stored = labeled(pixels)
    write_labels(tmp_path / "a.npz", stored)
    write_labels(tmp_path / "b.npz", read_labels(tmp_path / "a.npz"))
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert read_labels(tmp_path / "a.npz").logits.dtype == np.float16


def test_images_in_another_order_are_refused(pixels: Pixels) -> None:
    moved = Pixels(pixels.images[::-1], pixels.labels, pixels.class_names)
    with pytest.raises(DataError, match="for other images, or for these in another order"):
        labeled(pixels).refuse_others(moved)


def test_images_of_another_size_are_told_which_fits(pixels: Pixels, rng: np.random.Generator) -> None:
    with pytest.raises(DataError, match="--image-size 16"):
        labeled(pixels).refuse_others(colored(rng, ipc=4, size=8))


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut off"])
def test_a_damaged_file_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "labels.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"labels\.npz holds no soft labels or is damaged"):
        read_labels(tmp_path / "labels.npz")


def test_an_archive_of_something_else_is_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "labels.npz", images=np.zeros(3))
    with pytest.raises(DataError, match="holds no soft labels or is damaged"):
        read_labels(tmp_path / "labels.npz")
