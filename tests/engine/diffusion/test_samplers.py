"""The samplers against closed forms, and against diffusers' loops with the same denoiser."""

from functools import partial
from itertools import pairwise

import numpy as np
import pytest

from limbeck.diffusion.samplers import ddim, ddpm, dpm_solver, finish, pndm, sampler
from limbeck.diffusion.schedule import CLEAN, NoiseSchedule
from limbeck.errors import ConfigError
from limbeck_kernels import denoise_step
from support.gaussian import GaussianDenoiser, Recorded, all_at

SHAPE = (2, 3, 3)
DIT = {"beta_schedule": "linear", "beta_start": 0.0001, "beta_end": 0.02}
STABLE_DIFFUSION = {
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}
SCHEDULE = NoiseSchedule.from_config(DIT)
GAUSSIAN = GaussianDenoiser.random(SCHEDULE, num_classes=3, latent_shape=SHAPE)
CONDITION = GAUSSIAN.conditioning.of_classes(["class 2", "class 0", "class 1", "class 0"])
ALL = {"ddim": ddim, "ddpm": ddpm, "dpm_solver": dpm_solver, "pndm": pndm}


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def noises(rng, num_steps, shape=(4, *SHAPE)):
    return rng.standard_normal((num_steps, *shape)).astype(np.float32)


def last(run, latents, times, *, denoise=GAUSSIAN, condition=CONDITION, schedule=SCHEDULE, **settings):
    return finish(latents, run(denoise, latents, condition, schedule=schedule, times=times, **settings))


def order_of(run, *, start, end, strides, rng):
    """The slope of the logarithm of the error against the exact ODE, over the logarithm of the stride."""
    direction = 1 if end > start else -1
    starts, ends = all_at(start, 4), all_at(end, 4)
    latents = GAUSSIAN.noisy(CONDITION, starts, rng)
    exact = GAUSSIAN.exact(latents, starts, ends, CONDITION)
    walks = [np.arange(start, end + direction, direction * stride) for stride in strides]
    errors = [np.abs(last(run, latents, walk) - exact).max() for walk in walks]
    return np.polyfit(np.log(strides), np.log(errors), deg=1)[0]


@pytest.mark.parametrize(("start", "end"), [(600, 0), (0, 600)], ids=["sample", "invert"])
def test_ddim_is_first_order(start, end, rng):
    assert order_of(ddim, start=start, end=end, strides=[5, 10, 20, 40], rng=rng) == pytest.approx(1, abs=0.15)


def test_dpm_solver_is_second_order(rng):
    order = order_of(dpm_solver, start=960, end=480, strides=[10, 20, 40, 80], rng=rng)
    assert order == pytest.approx(2, abs=0.15)


@pytest.mark.parametrize("run", [ddim, dpm_solver, pndm])
def test_a_long_walk_ends_where_the_exact_ode_does(run, rng):
    walk = SCHEDULE.timesteps(1000)
    latents = GAUSSIAN.noisy(CONDITION, all_at(999, 4), rng)
    exact = GAUSSIAN.exact(latents, all_at(999, 4), all_at(CLEAN, 4), CONDITION)
    np.testing.assert_allclose(last(run, latents, walk), exact, atol=0.02)


def test_inverting_then_sampling_nears_the_identity_with_more_steps(rng):
    clean = GAUSSIAN.data(CONDITION, rng)
    errors = []
    for num_steps in (20, 50, 100, 200):
        down = SCHEDULE.timesteps(num_steps, strength=0.6)
        errors.append(np.abs(last(ddim, last(ddim, clean, down[::-1]), down) - clean).max())
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.02


def spread_left(carry):
    """Of a Gaussian that was carried up to time 600 and back with 50 steps each way."""
    gaussian = GaussianDenoiser.of(SCHEDULE, mean=[0.3], std=[0.6], latent_shape=(1, 1, 1))
    condition = gaussian.conditioning.of_classes(["class 0"] * 2)
    one_std_either_side = np.array([-0.3, 0.9], np.float32)[:, None, None, None]
    down = np.append(np.arange(600, 0, -12), CLEAN)
    up_and_down = carry(gaussian, carry(gaussian, one_std_either_side, condition, down[::-1]), condition, down)
    return np.ptp(up_and_down) / 1.2


def test_asking_at_the_noisier_end_keeps_more_spread_than_asking_at_the_start():
    def at_the_noisier_end(denoise, latents, condition, times):
        return last(ddim, latents, times, denoise=denoise, condition=condition)

    def at_the_start(denoise, latents, condition, times):
        for t, s in pairwise(times):
            noise = denoise(latents, all_at(max(t, 0), 2), condition)
            levels = SCHEDULE.alpha_bar(all_at(t, 2)), SCHEDULE.alpha_bar(all_at(s, 2))
            latents = denoise_step.ddim_step(latents, noise, *levels)
        return latents

    assert spread_left(at_the_noisier_end) == pytest.approx(0.98, abs=0.005)
    assert spread_left(at_the_start) == pytest.approx(0.94, abs=0.005)


@pytest.mark.parametrize("direction", [1, -1])
def test_ddim_asks_at_the_noisier_end_of_each_step(direction):
    asked = Recorded(GAUSSIAN)
    walk = np.array([CLEAN, 0, 300, 600])[::direction]
    last(ddim, np.zeros((4, *SHAPE), np.float32), walk, denoise=asked)
    assert [times[0] for times in asked.times] == [0, 300, 600][::direction]


def moments_after(variance, *, mean, std, walk):
    """Mean and standard deviation of 4000 samples that were carried from the top of `walk` to clean."""
    gaussian = GaussianDenoiser.of(SCHEDULE, mean=[mean], std=[std], latent_shape=(1, 1, 4000))
    condition = gaussian.conditioning.of_classes(["class 0"])
    rng = np.random.default_rng(5)
    start = gaussian.noisy(condition, walk[:1], rng)
    clean = last(
        partial(ddpm, variance=variance),
        start,
        walk,
        denoise=gaussian,
        condition=condition,
        noise=lambda step: rng.standard_normal(start.shape, dtype=np.float32),
    )
    return clean.mean(), clean.std()


def test_ddpm_with_the_upper_variance_keeps_standard_normal_data_in_any_stride():
    mean, std = moments_after("upper", mean=0.7, std=1.0, walk=np.array([900, 500, 200, 0]))
    assert (mean, std) == (
        pytest.approx(0.7 * np.sqrt(SCHEDULE.alpha_bars[0]), abs=0.06),
        pytest.approx(1, abs=0.04),
    )


def test_ddpm_with_the_posterior_variance_keeps_data_that_are_one_point():
    mean, std = moments_after("posterior", mean=0.7, std=1e-6, walk=SCHEDULE.timesteps(10))
    assert (mean, std) == (pytest.approx(0.7, abs=1e-4), pytest.approx(0, abs=1e-4))


def test_ddpm_with_the_exact_learned_variance_keeps_mean_and_spread():
    mean, std = moments_after("learned", mean=-0.4, std=0.5, walk=SCHEDULE.timesteps(1000))
    assert (mean, std) == (pytest.approx(-0.4, abs=0.03), pytest.approx(0.5, abs=0.02))


def test_ddpm_adds_no_noise_on_the_step_to_clean(rng):
    latents = GAUSSIAN.noisy(CONDITION, all_at(40, 4), rng)
    runs = [
        last(
            partial(ddpm, variance="upper"),
            latents,
            np.array([40, CLEAN]),
            noise=lambda step, k=k: noises(rng, 1)[0] * k,
        )
        for k in (0, 1)
    ]
    np.testing.assert_array_equal(*runs)


def test_ddpm_without_a_noise_source_is_refused(rng):
    with pytest.raises(ConfigError, match="give noise="):
        last(ddpm, noises(rng, 1)[0], SCHEDULE.timesteps(2))


def test_a_learned_variance_that_the_network_lacks_is_refused(rng):
    draws = noises(rng, 2)
    with pytest.raises(ConfigError, match="Recorded has none; use 'posterior'"):
        last(
            partial(ddpm, variance="learned"),
            draws[0],
            SCHEDULE.timesteps(2),
            denoise=Recorded(GAUSSIAN),
            noise=draws.__getitem__,
        )


@pytest.mark.parametrize("name", ALL)
def test_a_mixed_batch_equals_each_sample_alone_bit_for_bit(name, rng):
    """Samples of other lengths, idle at the start, at the end or in the middle."""
    walks = np.array(
        [
            [900, 700, 500, 300, 100, CLEAN],
            [500, 500, 500, 300, 100, CLEAN],
            [900, 600, 300, CLEAN, CLEAN, CLEAN],
            [800, 600, 600, 400, 400, 200],
        ]
    )
    draws = noises(rng, 5)
    latents = noises(rng, 1)[0]
    together = last(ALL[name], latents, walks.T, noise=draws.__getitem__)
    for i, walk in enumerate(walks):
        moving = np.flatnonzero(np.diff(walk))
        alone = last(
            ALL[name],
            latents[i : i + 1],
            np.append(walk[moving], walk[-1]),
            condition=CONDITION.take([i]),
            noise=lambda step, i=i, moving=moving: draws[moving[step], i : i + 1],
        )
        np.testing.assert_array_equal(together[i : i + 1], alone)


@pytest.mark.parametrize("name", ALL)
def test_a_sample_that_does_not_move_costs_nothing_and_keeps_its_latents(name, rng):
    asked = Recorded(GAUSSIAN)
    latents, draws = noises(rng, 1)[0], noises(rng, 2)
    still = last(ALL[name], latents, np.full((3, 4), 300), denoise=asked, noise=draws.__getitem__)
    np.testing.assert_array_equal(still, latents)
    assert asked.times == []


@pytest.mark.parametrize("name", ALL)
def test_a_denoiser_that_keeps_something_is_told_each_walk_once_and_asked_with_its_own_condition(name, rng):
    begun = []
    other = GAUSSIAN.conditioning.of_classes(["class 1"] * 4)

    class Walking(Recorded):
        def begin(self, condition, walks):
            begun.append((condition, walks.tolist()))
            return other

    latents, times, fresh = noises(rng, 1)[0], np.array([800, 400, 0]), noises(rng, 2)
    walked = last(ALL[name], latents, times, denoise=Walking(GAUSSIAN), noise=fresh.__getitem__)
    assert begun == [(CONDITION, [[800] * 4, [400] * 4, [0] * 4])]
    np.testing.assert_array_equal(walked, last(ALL[name], latents, times, condition=other, noise=fresh.__getitem__))


def test_a_walk_of_no_steps_gives_the_latents_back(rng):
    latents = noises(rng, 1)[0]
    assert last(ddim, latents, SCHEDULE.timesteps(50, strength=0)) is latents


@pytest.mark.parametrize("name", ALL)
def test_latents_come_after_every_step_and_stay_as_they_were(name, rng):
    latents, draws = noises(rng, 1)[0], noises(rng, 5)
    before = latents.copy()
    seen, copies = [], []
    for stepped in ALL[name](
        GAUSSIAN, latents, CONDITION, schedule=SCHEDULE, times=SCHEDULE.timesteps(5), noise=draws.__getitem__
    ):
        assert stepped.dtype == np.float32
        seen.append(stepped)
        copies.append(stepped.copy())
    assert len(seen) == 5
    np.testing.assert_array_equal(seen, copies)
    np.testing.assert_array_equal(latents, before)


@pytest.mark.parametrize("name", ["ddpm", "dpm_solver", "pndm"])
def test_samplers_that_cannot_invert_say_so(name, rng):
    with pytest.raises(ConfigError, match="use ddim to invert"):
        last(ALL[name], noises(rng, 1)[0], np.array([CLEAN, 100, 200]), noise=noises(rng, 2).__getitem__)


def test_times_of_another_batch_are_refused(rng):
    with pytest.raises(ConfigError, match=r"shape \(3, 2\) do not fit a batch of 4: give \(num_steps \+ 1, 4\)"):
        last(ddim, noises(rng, 1)[0], np.zeros((3, 2), np.int64))


def test_a_sampler_that_does_not_exist_is_refused():
    with pytest.raises(ConfigError, match=r"unknown sampler 'euler'; there are: ddim, ddpm, dpm\+\+2m"):
        sampler("euler")


def test_img2img_without_room_for_its_skipped_step_is_refused():
    with pytest.raises(ConfigError, match="keeps 49 of 50 steps; pndm-img2img needs at least 2 cut off"):
        sampler("pndm-img2img").times(SCHEDULE, 50, strength=0.98)


@pytest.mark.parametrize(("name", "calls"), [("ddim", 35), ("dpm++2m", 35), ("pndm", 36), ("pndm-img2img", 36)])
def test_network_calls_of_50_steps_at_strength_07(name, calls, rng):
    walk, asked = sampler(name), Recorded(GAUSSIAN)
    last(walk, noises(rng, 1)[0], walk.times(SCHEDULE, 50, strength=0.7), denoise=asked)
    assert len(asked.times) == calls


def assert_equal_in_float32(ours, theirs):
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def reference_loop(scheduler, timesteps, latents, denoise, *, learned=False, **settings):
    """The loop of a diffusers pipeline, with our denoiser as its network."""
    torch = pytest.importorskip("torch")
    z = torch.from_numpy(latents)
    for t in timesteps:
        ask = denoise.with_variance if learned else denoise
        output = ask(z.numpy(), all_at(int(t), len(latents)), CONDITION)
        output = np.concatenate(output, axis=1) if learned else output
        z = scheduler.step(torch.from_numpy(output), t, z, **settings).prev_sample
    return z.numpy()


def start(rng, schedule):
    return schedule, GaussianDenoiser.random(schedule, num_classes=3, latent_shape=SHAPE), noises(rng, 1)[0]


@pytest.mark.torch
@pytest.mark.parametrize(
    ("config", "num_steps"),
    [
        (DIT, 50),
        (DIT, 30),
        ({**DIT, "timestep_spacing": "trailing"}, 20),
        (STABLE_DIFFUSION, 50),
        ({"beta_schedule": "squaredcos_cap_v2"}, 25),
    ],
    ids=["dit", "uneven", "trailing", "stable diffusion", "cosine"],
)
def test_ddim_equals_diffusers(config, num_steps, rng):
    scheduler = pytest.importorskip("diffusers").DDIMScheduler(**config, clip_sample=False)
    scheduler.set_timesteps(num_steps)
    schedule, denoise, latents = start(rng, NoiseSchedule.from_config(config))
    ours = last(ddim, latents, schedule.timesteps(num_steps), denoise=denoise, schedule=schedule)
    theirs = reference_loop(scheduler, scheduler.timesteps, latents, denoise)
    assert_equal_in_float32(ours, theirs)


@pytest.mark.torch
@pytest.mark.parametrize("config", [DIT, STABLE_DIFFUSION], ids=["dit", "stable diffusion"])
def test_ddim_inversion_equals_diffusers(config, rng):
    scheduler = pytest.importorskip("diffusers").DDIMInverseScheduler(**config, clip_sample=False)
    scheduler.set_timesteps(50)
    schedule, denoise, latents = start(rng, NoiseSchedule.from_config(config))
    ours = last(ddim, latents, schedule.timesteps(50)[::-1], denoise=denoise, schedule=schedule)
    theirs = reference_loop(scheduler, scheduler.timesteps, latents, denoise)
    assert_equal_in_float32(ours, theirs)


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers with NumPy 2
@pytest.mark.parametrize("num_steps", [2, 10, 25])
def test_dpm_solver_equals_diffusers(num_steps, rng):
    scheduler = pytest.importorskip("diffusers").DPMSolverMultistepScheduler(**DIT)
    schedule, denoise, latents = start(rng, SCHEDULE)
    times = schedule.timesteps(num_steps, spacing="trailing")
    scheduler.set_timesteps(timesteps=times[:-1].tolist())
    ours = last(dpm_solver, latents, times, denoise=denoise)
    theirs = reference_loop(scheduler, scheduler.timesteps, latents, denoise)
    assert_equal_in_float32(ours, theirs)


@pytest.mark.torch
@pytest.mark.parametrize("num_steps", [1, 2, 20, 50])
def test_pndm_equals_diffusers(num_steps, rng):
    scheduler = pytest.importorskip("diffusers").PNDMScheduler(**STABLE_DIFFUSION, skip_prk_steps=True)
    scheduler.set_timesteps(num_steps)
    schedule, denoise, latents = start(rng, NoiseSchedule.from_config(STABLE_DIFFUSION))
    ours = last(pndm, latents, schedule.timesteps(num_steps), denoise=denoise, schedule=schedule)
    theirs = reference_loop(scheduler, scheduler.timesteps, latents, denoise)
    assert_equal_in_float32(ours, theirs)


@pytest.mark.torch
@pytest.mark.parametrize("strength", [0.02, 0.3, 0.7, 0.96])
def test_pndm_of_img2img_equals_diffusers_which_skips_a_stride(strength, rng):
    scheduler = pytest.importorskip("diffusers").PNDMScheduler(**STABLE_DIFFUSION, skip_prk_steps=True)
    scheduler.set_timesteps(50)
    kept = scheduler.timesteps[50 - int(50 * strength) :]
    schedule, denoise, latents = start(rng, NoiseSchedule.from_config(STABLE_DIFFUSION))
    walk = sampler("pndm-img2img")
    times = walk.times(schedule, 50, strength=strength)
    assert times[0] == kept[0]
    ours = last(walk, latents, times, denoise=denoise, schedule=schedule)
    theirs = reference_loop(scheduler, kept, latents, denoise)
    assert_equal_in_float32(ours, theirs)


@pytest.mark.torch
@pytest.mark.parametrize(
    ("ours", "theirs"), [("posterior", "fixed_small"), ("upper", "fixed_large"), ("learned", "learned_range")]
)
def test_ddpm_equals_diffusers(ours, theirs, rng):
    torch = pytest.importorskip("torch")
    scheduler = pytest.importorskip("diffusers").DDPMScheduler(**DIT, variance_type=theirs, clip_sample=False)
    scheduler.set_timesteps(50)
    latents = noises(rng, 1)[0]
    replay = torch.Generator().manual_seed(3)
    draws = [torch.randn(latents.shape, generator=replay).numpy() for _ in range(50)]
    result = last(partial(ddpm, variance=ours), latents, SCHEDULE.timesteps(50), noise=draws.__getitem__)
    expected = reference_loop(
        scheduler,
        scheduler.timesteps,
        latents,
        GAUSSIAN,
        learned=ours == "learned",
        generator=torch.Generator().manual_seed(3),
    )
    assert_equal_in_float32(result, expected)
