"""Tiles against the whole, for networks whose receptive field is known."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from limbeck.diffusion.tiling import Tiling, tiled
from limbeck.errors import ConfigError


def smooth(images):
    """Two 3 x 3 means, zero-padded at the borders as a convolution does: what a cell sees ends 2 cells away."""
    for _ in range(2):
        padded = np.pad(images, [(0, 0), (0, 0), (1, 1), (1, 1)])
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
        images = windows.mean(axis=(4, 5), dtype=np.float32)
    return images


def decode(latents):
    """`smooth`, then every cell becomes 4 x 4 pixels."""
    return smooth(latents).repeat(4, axis=2).repeat(4, axis=3)


def encode(images):
    """Means of 4 x 4 pixels, then `smooth`."""
    n, c, h, w = images.shape
    return smooth(images.reshape(n, c, h // 4, 4, w // 4, 4).mean(axis=(3, 5)))


@pytest.fixture
def latents():
    return np.random.default_rng(0).standard_normal((2, 3, 21, 16)).astype(np.float32)


def test_a_decoder_on_tiles_that_overlap_enough_equals_the_whole(latents):
    found = tiled(decode, latents, Tiling(tile=10, overlap=5, margin=2), scale_out=4)
    np.testing.assert_allclose(found, decode(latents), atol=1e-5)


def test_an_encoder_on_tiles_that_overlap_enough_equals_the_whole(latents):
    images = latents.repeat(4, axis=2).repeat(4, axis=3)
    found = tiled(encode, images, Tiling(tile=10, overlap=5, margin=2), scale_in=4)
    np.testing.assert_allclose(found, encode(images), atol=1e-5)


def test_without_enough_overlap_the_difference_stays_where_tiles_meet(latents):
    found = tiled(smooth, latents, Tiling(tile=10, overlap=2))
    wrong = np.abs(found - smooth(latents)).max(axis=(0, 1)) > 1e-5
    assert wrong.any()
    assert not wrong[:6, :4].any(), "the first tile's inside, away from its inner edges"


def test_every_call_has_one_shape(latents):
    shapes = set()

    def run(part):
        shapes.add(part.shape)
        return smooth(part)

    tiled(run, latents, Tiling(tile=10, overlap=4))
    assert shapes == {(2, 3, 10, 10)}


@given(st.integers(2, 40), st.integers(1, 20), st.integers(0, 120))
def test_tiles_cover_a_side_and_neighbors_share_the_overlap(tile, overlap, more):
    if overlap > tile // 2:
        return
    length = tile + more
    starts = Tiling(tile=tile, overlap=overlap).starts(length)
    assert starts[0] == 0
    assert starts[-1] + tile == length
    assert all(0 < b - a <= tile - overlap for a, b in pairwise(starts))


def test_the_same_picture_on_every_tile_has_no_seam():
    found = tiled(lambda part: part, np.ones((1, 1, 30, 30), np.float32), Tiling(tile=8, overlap=3))
    np.testing.assert_allclose(found, 1, rtol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"tile": 8, "overlap": 5}, "overlap by 1 to 4"), ({"tile": 8, "overlap": 4, "margin": 2}, "leave nothing")],
)
def test_tiles_that_cannot_be_blended_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        Tiling(**settings)
