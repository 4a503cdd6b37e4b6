"""Steered walks against the papers' formulas and against diffusers' steps."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from limbeck.diffusion.guidance import Guided
from limbeck.diffusion.samplers import ddim, ddpm, finish
from limbeck.diffusion.schedule import CLEAN, NoiseSchedule
from limbeck.diffusion.steering import Pull, PullNoise, Step
from limbeck.errors import ConfigError
from support.gaussian import GaussianDenoiser, Recorded, all_at

SHAPE = (4, 3, 3)
DIT = {"beta_schedule": "linear", "beta_start": 0.0001, "beta_end": 0.02}
SCHEDULE = NoiseSchedule.from_config(DIT)
GAUSSIAN = GaussianDenoiser.random(SCHEDULE, num_classes=3, latent_shape=SHAPE)
CONDITION = GAUSSIAN.conditioning.of_classes(["class 2", "class 0", "class 1", "class 0"])
ALWAYS = (0, 1000)
PULLS: dict[str, Callable[..., Pull | PullNoise]] = {
    "clean": partial(Pull, reference="clean"),
    "noisy": partial(Pull, reference="noisy"),
    "prediction": PullNoise,
}


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def targets(rng):
    return rng.standard_normal((4, *SHAPE)).astype(np.float32)


def noises(rng, num_steps):
    return rng.standard_normal((num_steps, 4, *SHAPE)).astype(np.float32)


def steps(run, latents, times, *, denoise=GAUSSIAN, condition=CONDITION, **settings):
    return list(run(denoise, latents, condition, schedule=SCHEDULE, times=times, **settings))


@pytest.mark.parametrize("kind", PULLS)
@pytest.mark.parametrize("run", [ddim, partial(ddpm, variance="learned")], ids=["ddim", "ddpm"])
def test_outside_its_window_a_pull_changes_no_bit(kind, run, rng, targets):
    times, draws = SCHEDULE.timesteps(10), noises(rng, 11)
    pull = PULLS[kind](targets=targets, scale=0.1, window=(300, 600))
    free, steered = (
        steps(run, draws[-1], times, noise=lambda step: draws[step].copy(), steer=steer) for steer in (None, pull)
    )
    changed = [not np.array_equal(*both) for both in zip(free, steered, strict=True)]
    assert changed.index(True) == np.flatnonzero(times <= 600)[0]
    inside = [not np.array_equal(pull(step_at(time, draws)), draws[2]) for time in times[:-1]]
    assert inside == [300 <= time <= 600 for time in times[:-1]]


def step_at(time: int | np.ndarray, draws: np.ndarray) -> Step:
    """Of four samples, with a spread of 1."""
    times = np.broadcast_to(time, 4)
    levels = SCHEDULE.alpha_bar(times), SCHEDULE.alpha_bar(times - 1)
    return Step(np.arange(4), times, *levels, draws[0], draws[1], np.ones(4), draws[2])


@pytest.mark.parametrize("kind", PULLS)
def test_a_pull_acts_on_each_sample_at_its_own_time(kind, rng, targets):
    draws = noises(rng, 3)
    step = step_at(np.array([100, 400, 500, 900]), draws)
    moved = PULLS[kind](targets=targets, scale=0.5, window=(400, 500))(step)
    assert [not np.array_equal(moved[i], step.moved[i]) for i in range(4)] == [False, True, True, False]


@pytest.mark.parametrize("reference", ["clean", "noisy"])
def test_a_pull_of_1_with_a_spread_of_1_replaces_what_it_is_held_against(reference, rng, targets):
    step = step_at(700, noises(rng, 3))
    held = step.clean if reference == "clean" else step.latents
    moved = Pull(targets=targets, scale=1.0, window=ALWAYS, reference=reference)(step)
    np.testing.assert_allclose(moved - targets, step.moved - held, atol=1e-4)


def test_a_pulled_prediction_is_that_of_latents_nearer_to_the_target(rng, targets):
    """eps' = eps - sqrt(1 - a) w (m - x0): the clean latent it implies is x0 + (1 - a) / sqrt(a) w (m - x0)."""
    time, scale = 300, 0.25
    draws, times = noises(rng, 1)[0], np.array([time, CLEAN])
    (free,) = steps(ddim, draws, times)
    (pulled,) = steps(ddim, draws, times, steer=PullNoise(targets=targets, scale=scale, window=ALWAYS))
    level = float(SCHEDULE.alpha_bar(all_at(time, 1))[0])
    np.testing.assert_allclose(pulled - free, (1 - level) / np.sqrt(level) * scale * (targets - free), atol=1e-5)


@pytest.mark.parametrize(
    ("level", "spread"), [(25, 0.433), (30, 0.473), (35, 0.508), (40, 0.538)], ids=lambda value: str(value)
)
def test_the_posterior_spread_of_ddim_is_that_of_50_respaced_steps(level, spread, rng):
    seen: list[Step] = []

    def look(step: Step) -> np.ndarray:
        seen.append(step)
        return step.moved

    steps(ddim, noises(rng, 1)[0], SCHEDULE.timesteps(50, spacing="respaced"), steer=look)
    assert np.sqrt(seen[49 - level].variance) == pytest.approx(spread, abs=6e-4)


@pytest.mark.parametrize("kind", PULLS)
@pytest.mark.parametrize("run", [ddim, partial(ddpm, variance="learned")], ids=["ddim", "ddpm"])
def test_a_steered_mixed_batch_equals_each_sample_alone_bit_for_bit(kind, run, rng, targets):
    walks = np.array(
        [
            [900, 700, 500, 300, 100, CLEAN],
            [500, 500, 500, 300, 100, CLEAN],
            [900, 600, 300, CLEAN, CLEAN, CLEAN],
            [800, 600, 600, 400, 400, 200],
        ]
    )
    draws = noises(rng, 6)
    settings = {"scale": 0.3, "window": (200, 800)}
    together = steps(run, draws[5], walks.T, noise=draws.__getitem__, steer=PULLS[kind](targets=targets, **settings))
    for i, walk in enumerate(walks):
        moving = np.flatnonzero(np.diff(walk))
        alone = steps(
            run,
            draws[5][i : i + 1],
            np.append(walk[moving], walk[-1]),
            condition=CONDITION.take([i]),
            noise=lambda step, i=i, moving=moving: draws[moving[step]][i : i + 1].copy(),
            steer=PULLS[kind](targets=targets[i : i + 1], **settings),
        )
        np.testing.assert_array_equal(alone[-1][0], together[-1][i])


def test_a_steered_walk_cannot_invert(rng, targets):
    with pytest.raises(ConfigError, match="cannot go to a noisier time"):
        steps(ddim, targets, SCHEDULE.timesteps(5)[::-1], steer=lambda step: step.moved)


def test_a_learned_spread_that_the_network_lacks_is_refused(rng, targets):
    with pytest.raises(ConfigError, match="Recorded has none"):
        steps(
            ddim,
            targets,
            SCHEDULE.timesteps(5),
            denoise=Recorded(GAUSSIAN),
            variance="learned",
            steer=lambda step: step.moved,
        )


def test_looking_without_moving_changes_no_bit(rng, targets):
    times = SCHEDULE.timesteps(20)
    guided = Guided(GAUSSIAN, GAUSSIAN.conditioning, scale=3.0)
    looks = [None, lambda step: step.moved]
    free, seen = (
        finish(targets, iter(steps(ddim, targets, times, denoise=guided, variance="learned", steer=steer)))
        for steer in looks
    )
    np.testing.assert_array_equal(free, seen)


@pytest.mark.torch
def test_mode_guidance_on_ddpm_equals_the_papers_formula_on_diffusers_steps(rng, targets):
    """sample += scale * exp(log variance / 2) * (mode - predicted clean latent), while t > stop."""
    torch = pytest.importorskip("torch")
    scheduler = pytest.importorskip("diffusers").DDPMScheduler(
        **DIT, variance_type="learned_range", clip_sample=False, timestep_spacing="leading"
    )
    scheduler.set_timesteps(50)
    start, stop, scale = noises(rng, 1)[0], 500, 0.1
    replay = torch.Generator().manual_seed(3)
    draws = [torch.randn(start.shape, generator=replay).numpy() for _ in range(50)]
    pull = Pull(targets=targets, scale=scale, window=(stop + 1, 1000), reference="clean")
    ours = steps(
        ddpm, start, SCHEDULE.timesteps(50), variance="learned", noise=lambda step: draws[step].copy(), steer=pull
    )
    replay, z = torch.Generator().manual_seed(3), torch.from_numpy(start)
    for t in scheduler.timesteps:
        noise, raw = GAUSSIAN.with_variance(z.numpy(), all_at(int(t), 4), CONDITION)
        log_variance = scheduler._get_variance(t, predicted_variance=torch.from_numpy(raw))
        made = scheduler.step(torch.from_numpy(np.concatenate([noise, raw], axis=1)), t, z, generator=replay)
        z = made.prev_sample
        if int(t) > stop:
            z = z + scale * torch.exp(0.5 * log_variance) * (torch.from_numpy(targets) - made.pred_original_sample)
    np.testing.assert_allclose(ours[-1], z.numpy(), rtol=1e-4, atol=1e-4)
