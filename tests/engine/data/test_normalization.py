"""Normalized pixels, in arrays of NumPy; those of tensors are in `test_tensors`."""

from __future__ import annotations

import numpy as np
import pytest

from limbeck.data.normalization import NORMALIZATIONS, Normalization
from limbeck.data.source import open_source
from limbeck.errors import ConfigError, UnreadableImagesError

PIXELS = np.random.default_rng(0).random((2, 3, 8, 8)).astype(np.float32)
MEAN, STD = np.array([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]], np.float32)[:, :, None, None]


def opened(tmp_path, images):
    np.savez(tmp_path / "set.npz", images=images, labels=[0, 0])
    return open_source(tmp_path / "set.npz", normalization=NORMALIZATIONS["imagenet"])


def pixels(source):
    return next(source.images(0, size=8, fit="crop", batch=2))


def test_a_normalized_archive_is_brought_back(tmp_path):
    np.testing.assert_allclose(pixels(opened(tmp_path, (PIXELS - MEAN) / STD)), PIXELS, atol=1e-5)


def test_gray_is_brought_back_by_each_channels_numbers(tmp_path):
    expected = np.clip(PIXELS[:, :1] * STD + MEAN, 0, 1)
    np.testing.assert_allclose(pixels(opened(tmp_path, PIXELS[:, 0])), expected, atol=1e-5)


def test_tiles_of_normalized_pixels_come_row_by_row_each_resized_alone(tmp_path):
    source = opened(tmp_path, (PIXELS - MEAN) / STD)
    first, second, third = source.images(0, size=4, fit="crop", batch=3, tiles=2)
    cut = [image[:, y : y + 4, x : x + 4] for image in PIXELS for y in (0, 4) for x in (0, 4)]
    np.testing.assert_allclose(np.concatenate([first, second, third]), cut, atol=1e-5)
    with pytest.raises(UnreadableImagesError, match="8 x 8 pixels cannot be cut into 9 x 9 tiles"):
        next(source.images(0, size=4, fit="crop", batch=3, tiles=9))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 8, 8, 3), np.uint8), r"uint8 of shape \(8, 8, 3\); normalized pixels are finite floats"),
        (np.zeros((2, 8, 8, 4), np.float32), r"float32 of shape \(8, 8, 4\)"),
        (np.full((2, 8, 8, 3), np.nan, np.float32), "finite"),
    ],
    ids=["bytes", "transparency", "not finite"],
)
def test_what_cannot_have_been_normalized_counts_as_unreadable(tmp_path, images, message):
    with pytest.raises(UnreadableImagesError, match=message):
        pixels(opened(tmp_path, images))


def test_it_is_named_or_given_in_numbers():
    assert Normalization.parse("raw") == NORMALIZATIONS["raw"]
    assert Normalization.parse("0.5,0.4,0.3/0.2,0.2,0.1") == Normalization((0.5, 0.4, 0.3), (0.2, 0.2, 0.1))


@pytest.mark.parametrize("text", ["zca", "0.5/0.2", "1,2,3", "a,b,c/d,e,f"])
def test_another_word_is_answered_with_those_there_are(text):
    with pytest.raises(ConfigError, match="is no normalization; there is imagenet, raw, or give mean and std"):
        Normalization.parse(text)


@pytest.mark.parametrize("text", ["0,0,0/1,1,0", "0,0,nan/1,1,1"])
def test_numbers_that_undo_nothing_are_refused(text):
    with pytest.raises(ConfigError, match="finite means and a std above 0"):
        Normalization.parse(text)
