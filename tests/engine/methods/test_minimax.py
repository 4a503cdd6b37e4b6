"""Plain sampling against closed forms."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from limbeck.arrays import Latents
from limbeck.errors import ConfigError
from limbeck.methods.base import DistilledImages, Method
from limbeck.methods.minimax import Minimax
from support.models import gaussian_models
from support.sources import ArraySource, BlockCodec, blobs


@pytest.fixture
def source() -> ArraySource:
    return ArraySource({"class 2": blobs(np.random.default_rng(0), center=0.5, count=1)})


def made(method: Method, source: ArraySource, **models: object) -> Latents:
    networks = gaussian_models(**models)
    method.check(source, networks)
    events = method.distill(method.units(source), source, networks)
    return BlockCodec().encode(np.concatenate([event.images for event in events if isinstance(event, DistilledImages)]))


def test_it_reads_no_image() -> None:
    class Unreadable(ArraySource):
        def images(self, class_id: int, *, size: int, fit: str, batch: int) -> None:  # type: ignore[override]
            raise AssertionError("an image was read")

    source = Unreadable({"class 1": blobs(np.random.default_rng(0), center=0.5, count=1)})
    assert len(made(Minimax(ipc=4, num_steps=5), source)) == 4


def test_with_the_exact_denoiser_it_gives_the_class_distribution(source: ArraySource) -> None:
    latents = made(Minimax(ipc=64, guidance_scale=1.0, num_steps=200, variance="upper"), source, bucket=64)
    assert latents.mean() == pytest.approx(1.0, abs=0.02)
    assert latents.std() == pytest.approx(0.2, abs=0.02)


def test_a_learned_variance_that_the_network_lacks_is_refused_by_the_check(source: ArraySource) -> None:
    models = dataclasses.replace(gaussian_models(), denoiser=lambda latents, times, condition: latents)
    with pytest.raises(ConfigError, match="a learned variance needs a denoiser with learned sigma"):
        Minimax(ipc=1).check(source, models)


def test_the_faithful_preset_has_the_releases_numbers() -> None:
    method = Minimax.faithful(ipc=10)
    assert (method.num_steps, method.guidance_scale, method.guided_channels) == (50, 4.0, 3)
    assert method.variance == "learned"
