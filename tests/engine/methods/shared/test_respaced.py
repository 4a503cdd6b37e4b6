"""The times that the methods for DiT walk, and the noise that they begin with."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from limbeck.arrays import Latents
from limbeck.diffusion.base import Condition
from limbeck.diffusion.samplers import ddim, finish
from limbeck.errors import ConfigError
from limbeck.methods.mgd3 import MGD3
from limbeck.methods.minimax import Minimax
from limbeck.methods.shared.respaced import RespacedWalk, ToTargets
from support.gaussian import GaussianDenoiser
from support.models import SCHEDULE, gaussian_models
from support.sources import ArraySource, blobs


@pytest.mark.parametrize("method", [Minimax(ipc=2), MGD3(ipc=2)], ids=["minimax", "mgd3"])
def test_a_walk_asks_the_network_50_times_at_respaced_times(method: RespacedWalk) -> None:
    asked: list[int] = []
    models = gaussian_models()

    class Listening:
        def __call__(self, latents: Latents, times: np.ndarray, condition: Condition) -> Latents:
            raise AssertionError("the variance was not asked for")

        def with_variance(self, latents: Latents, times: np.ndarray, condition: Condition) -> tuple[Latents, Latents]:
            asked.append(int(times[0]))
            assert isinstance(models.denoiser, GaussianDenoiser)
            return models.denoiser.with_variance(latents, times, condition)

    source = ArraySource({"class 1": blobs(np.random.default_rng(0), center=0.5, count=2)})
    list(method.distill(method.units(source), source, dataclasses.replace(models, denoiser=Listening())))
    assert asked == [round(k * 999 / 49) for k in range(49, -1, -1)]


@pytest.mark.parametrize(("level", "time"), [(0, 0), (10, 204), (25, 510), (40, 816), (49, 999)])
def test_levels_are_those_of_50_respaced_steps(level: int, time: int) -> None:
    assert Minimax(ipc=1).time_of(level, gaussian_models()) == time


@pytest.mark.parametrize("level", [None, 510])
def test_targets_are_noised_to_their_level_whichever_time_the_walk_starts_at(level: int | None) -> None:
    rng = np.random.default_rng(0)
    targets, noise = (rng.standard_normal((2, 3, 4, 4)).astype(np.float32) for _ in range(2))
    models = gaussian_models()
    condition, times = models.conditioning.of_classes(["class 0", "class 1"]), np.array([900, 700, 500])
    sampler = ToTargets(run=lambda given: ddim, noise=noise, level=level)
    walked = finish(targets, sampler(models.denoiser, targets, condition, schedule=SCHEDULE, times=times))
    begin = noise if level is None else SCHEDULE.add_noise(targets, noise, np.array([level, level]))
    expected = finish(begin, ddim(models.denoiser, begin, condition, schedule=SCHEDULE, times=times))
    np.testing.assert_array_equal(walked, expected)


@pytest.mark.parametrize("field", ["ipc", "num_steps"])
def test_settings_below_1_are_refused_at_once(field: str) -> None:
    with pytest.raises(ConfigError, match=f"{field} must be at least 1, got 0"):
        Minimax(**{"ipc": 1, field: 0})
