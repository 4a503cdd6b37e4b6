"""`PackCodec` on an encoder that doubles its pixels and a decoder that halves its latents, without a network."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from limbeck.diffusion.codec import PackCodec
from limbeck.pack import CodecInfo
from support.functions import function_engine
from support.graphs import tensor

MEAN, STD = (0.5, -1.0, 2.0), (2.0, 0.5, 4.0)
CHANNELS = np.array([MEAN, STD], np.float32)[:, :, None, None]
INFO = CodecInfo(kind="tiny", latent_channels=3, downsample=1, latent_mean=MEAN, latent_std=STD)


def codec(*, info=INFO, bucket=4, log_variance=0.0):
    """A codec, and what its encoder and decoder were fed."""
    pixels = tensor("pixels", "batch", 3, "height", "width")
    latents = tensor("latents", "batch", 3, "height", "width")
    outputs = [latents, tensor("log_variance", *latents.shape)] if info.has_posterior else [latents]

    def encode(pixels):
        spread = {"log_variance": np.full_like(pixels, log_variance)} if info.has_posterior else {}
        return {"latents": 2 * pixels} | spread

    encoder, encoded = function_engine([pixels], outputs, encode)
    decoder, decoded = function_engine([latents], [pixels], lambda latents: {"pixels": latents / 2})
    return PackCodec(info, encoder, decoder, bucket=bucket), encoded, decoded


def images(rng, batch=2):
    return rng.random((batch, 3, 4, 6), np.float32)


def test_the_encoder_sees_the_packs_range_of_pixels():
    model, encoded, _ = codec(bucket=1)
    model.encode(np.array([0, 0.5, 1], np.float32).reshape(1, 3, 1, 1))
    np.testing.assert_array_equal(encoded[0]["pixels"].ravel(), [-1, 0, 1])


def test_latents_are_centered_and_scaled_a_channel(rng):
    given_images = images(rng)
    model, _, _ = codec()
    mean, std = CHANNELS
    expected = (2 * (2 * given_images - 1) - mean) / std
    np.testing.assert_allclose(model.encode(given_images), expected, rtol=1e-6, atol=1e-6)


def test_the_decoder_sees_raw_latents():
    model, _, decoded = codec(bucket=1)
    model.decode(np.ones((1, 3, 1, 1), np.float32))
    np.testing.assert_array_equal(decoded[0]["latents"].ravel(), [2.5, -0.5, 6.0])


@given(rows=st.integers(1, 9), bucket=st.integers(1, 5), low=st.sampled_from([-1.0, 0.0]))
def test_decoding_undoes_encoding_whatever_the_bucket(rows, bucket, low):
    model, _, _ = codec(info=INFO.model_copy(update={"pixel_range": (low, 1.0)}), bucket=bucket)
    given_images = images(np.random.default_rng(rows), rows)
    np.testing.assert_allclose(model.decode(model.encode(given_images)), given_images, atol=1e-6)


def test_pixels_outside_the_range_are_clipped():
    model, _, _ = codec()
    pixels = model.decode(np.array([-100, 100, 0], np.float32).reshape(1, 3, 1, 1))
    assert pixels.ravel()[:2].tolist() == [0, 1]


def test_images_and_latents_stay_float32(rng):
    model, _, _ = codec()
    latents = model.encode(images(rng))
    assert latents.dtype == model.decode(latents).dtype == np.float32


def test_images_are_not_changed(rng):
    given_images = images(rng)
    before = given_images.copy()
    model, _, _ = codec()
    model.posterior(given_images)
    np.testing.assert_array_equal(given_images, before)


def test_a_codec_without_posterior_has_no_spread(rng):
    given_images = images(rng)
    model, _, _ = codec()
    mean, std = model.posterior(given_images)
    np.testing.assert_array_equal(mean, model.encode(given_images))
    np.testing.assert_array_equal(std, np.zeros_like(mean), strict=True)


@pytest.mark.parametrize(
    ("log_variance", "raw_std"), [(0.0, 1.0), (2 * np.log(3), 3.0), (-1000.0, np.exp(-15)), (1000.0, np.exp(10))]
)
def test_the_posteriors_spread_is_scaled_as_its_mean_and_clamped_as_diffusers_does(rng, log_variance, raw_std):
    model, _, _ = codec(info=INFO.model_copy(update={"has_posterior": True}), log_variance=log_variance)
    _, std = model.posterior(images(rng))
    assert std.dtype == np.float32
    np.testing.assert_allclose(std, np.broadcast_to(raw_std / CHANNELS[1], std.shape), rtol=1e-5)


def test_on_tiles_a_codec_of_single_pixels_makes_the_same(rng):
    latents = rng.standard_normal((2, 3, 40, 24)).astype(np.float32)
    whole, _, _ = codec()
    pixels = tensor("pixels", "batch", 3, "height", "width")
    coded = tensor("latents", "batch", 3, "height", "width")
    encoder, _ = function_engine([pixels], [coded], lambda pixels: {"latents": 2 * pixels})
    decoder, decoded = function_engine([coded], [pixels], lambda latents: {"pixels": latents / 2})
    tiles = PackCodec(INFO, encoder, decoder, bucket=1, tile=16)
    np.testing.assert_allclose(tiles.decode(latents), whole.decode(latents), atol=1e-6)
    np.testing.assert_allclose(tiles.encode(whole.decode(latents)), whole.encode(whole.decode(latents)), atol=1e-5)
    assert {feeds["latents"].shape for feeds in decoded} == {(1, 3, 16, 16)}
