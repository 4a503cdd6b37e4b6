"""MGD3 against plain sampling and closed forms; its step is held against diffusers' in `test_steering`."""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np
import pytest

from limbeck.arrays import Latents
from limbeck.errors import ConfigError
from limbeck.methods.base import DistilledImages, Method
from limbeck.methods.mgd3 import MGD3
from limbeck.methods.minimax import Minimax
from support.models import gaussian_models
from support.sources import ArraySource, BlockCodec, blobs


@pytest.fixture
def source() -> ArraySource:
    """Two modes, far apart, in either class."""
    rng = np.random.default_rng(1)
    return ArraySource(
        {f"class {i}": np.concatenate([blobs(rng, center=level, count=6) for level in (0.35, 0.65)]) for i in range(2)}
    )


def made(method: Method, source: ArraySource, **models: object) -> Latents:
    networks = gaussian_models(**models)
    method.check(source, networks)
    events = method.distill(method.units(source), source, networks)
    return BlockCodec().encode(np.concatenate([event.images for event in events if isinstance(event, DistilledImages)]))


def test_without_modes_it_is_plain_sampling(source: ArraySource) -> None:
    np.testing.assert_array_equal(made(MGD3(ipc=2, mode_scale=0.0), source), made(Minimax(ipc=2), source))


@pytest.mark.parametrize("sampling", ["ddpm", "ddim"])
def test_images_lie_nearer_to_their_modes_the_stronger_the_guidance(
    source: ArraySource, sampling: Literal["ddpm", "ddim"]
) -> None:
    """One mode a class: the mean of its images, away from where the network would go."""
    modes = np.stack(
        [BlockCodec().encode(next(source.images(i, size=16, fit="crop", batch=99))).mean(0) for i in (0, 1)]
    )
    distances = [
        np.abs(made(MGD3(ipc=1, mode_scale=scale, sampling=sampling, guidance_scale=1.0), source) - modes).mean()
        for scale in (0.0, 0.1, 0.3)
    ]
    assert distances == sorted(distances, reverse=True)


def test_each_image_of_a_class_has_a_mode_of_its_own(source: ArraySource) -> None:
    """From a network without an opinion, one image goes to the darker mode and one to the brighter."""
    method = MGD3(ipc=2, mode_scale=0.5, sampling="ddim", stop=0, guidance_scale=1.0)
    darker, brighter = np.sort(made(method, source, means=(0.0, 0.0), std=1.0)[:2].mean(axis=(1, 2, 3)))
    assert darker < -0.5
    assert brighter > 0.5


@pytest.mark.parametrize("sampling", ["ddpm", "ddim"])
def test_a_stop_at_the_top_never_guides(source: ArraySource, sampling: Literal["ddpm", "ddim"]) -> None:
    method = MGD3(ipc=2, stop=49, sampling=sampling)
    np.testing.assert_array_equal(made(method, source), made(dataclasses.replace(method, mode_scale=0.0), source))


def test_a_learned_variance_that_the_network_lacks_is_refused_by_the_check(source: ArraySource) -> None:
    models = dataclasses.replace(gaussian_models(), denoiser=lambda latents, times, condition: latents)
    with pytest.raises(ConfigError, match="a learned variance needs a denoiser with learned sigma"):
        MGD3(ipc=1).check(source, models)


def test_latents_beyond_the_scratch_memory_are_refused(source: ArraySource) -> None:
    with pytest.raises(ConfigError, match="12 images, whose latents take 2,304 bytes; scratch_bytes allows 100: raise"):
        MGD3(ipc=1, scratch_bytes=100).check(source, gaussian_models())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"stop": 50}, "stop is a level, 0..49 of num_steps=50; got 50"),
        ({"mode_scale": float("nan")}, "mode_scale must be a finite number, got nan"),
        ({"ipc": 0}, "ipc must be at least 1, got 0"),
    ],
)
def test_settings_that_cannot_work_are_refused_at_once(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MGD3(**{"ipc": 1, **settings})  # type: ignore[arg-type]


def test_the_faithful_preset_has_the_papers_numbers() -> None:
    method = MGD3.faithful(ipc=10)
    assert (method.num_steps, method.guidance_scale, method.mode_scale, method.stop) == (50, 4.0, 0.1, 25)
    assert (method.sampling, method.variance, method.guided_channels) == ("ddpm", "learned", 3)


def test_a_network_that_says_it_has_no_learned_sigma_is_refused_before_anything_runs(source: ArraySource) -> None:
    class Unlearned:
        learned_sigma = False

        def __init__(self, inner: object) -> None:
            self.with_variance = inner.with_variance  # type: ignore[attr-defined]

    models = gaussian_models()
    with pytest.raises(ConfigError, match="a learned variance needs a denoiser with learned sigma"):
        MGD3(ipc=2).check(source, dataclasses.replace(models, denoiser=Unlearned(models.denoiser)))
