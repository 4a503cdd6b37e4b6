import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from limbeck.diffusion.schedule import CLEAN, NoiseSchedule
from limbeck.errors import ConfigError
from support.gaussian import all_at

DIT = {"beta_schedule": "linear", "beta_start": 0.0001, "beta_end": 0.02, "clip_sample": False}
STABLE_DIFFUSION = {
    "_class_name": "PNDMScheduler",
    "_diffusers_version": "0.6.0",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "trained_betas": None,
    "clip_sample": False,
}


@pytest.fixture
def schedule() -> NoiseSchedule:
    return NoiseSchedule.from_config(DIT)


@pytest.mark.torch
@pytest.mark.parametrize(
    "config",
    [
        DIT,
        {**DIT, "num_train_timesteps": 250},
        {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
        {"beta_schedule": "squaredcos_cap_v2"},
        {"trained_betas": [0.001, 0.01, 0.1, 0.5]},
        {**DIT, "set_alpha_to_one": False},
    ],
    ids=["linear", "fewer times", "scaled_linear", "cosine", "trained", "final alpha"],
)
def test_signal_levels_are_those_of_diffusers(config):
    reference = pytest.importorskip("diffusers").DDIMScheduler(**config)
    schedule = NoiseSchedule.from_config(config)
    # diffusers multiplies up to 1000 factors in float32
    np.testing.assert_allclose(schedule.alpha_bars, reference.alphas_cumprod.numpy(), rtol=1e-4)
    assert schedule.final_alpha_bar == pytest.approx(float(reference.final_alpha_cumprod), rel=1e-6)


@pytest.mark.torch
def test_zero_terminal_signal_is_rescaled_as_in_diffusers_but_for_the_last_level():
    config = {"rescale_betas_zero_snr": True}
    reference = pytest.importorskip("diffusers").DDIMScheduler(**config)
    levels = NoiseSchedule.from_config(config).alpha_bars
    np.testing.assert_allclose(np.sqrt(levels[:-1]), reference.alphas_cumprod.sqrt().numpy()[:-1], atol=5e-6)
    assert 0 < levels[-1] <= 2**-24


@pytest.mark.torch
@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@given(num_steps=st.integers(1, 999))
def test_walks_have_the_times_of_diffusers(spacing, num_steps):
    config = {**DIT, "timestep_spacing": spacing, "steps_offset": 0 if num_steps > 900 else 1}
    reference = pytest.importorskip("diffusers").DDIMScheduler(**config)
    reference.set_timesteps(num_steps)
    walk = NoiseSchedule.from_config(config).timesteps(num_steps)
    # arange in floating point now and then gives diffusers one time too many
    np.testing.assert_array_equal(walk[:-1], reference.timesteps.numpy()[:num_steps])


def test_dit_walk_is_that_of_the_official_repository(schedule):
    expected = [round(k * 999 / 49) for k in range(50)]
    assert schedule.timesteps(50, spacing="respaced").tolist() == [*reversed(expected), CLEAN]


@given(num_steps=st.integers(1, 1000), spacing=st.sampled_from(["leading", "trailing", "linspace", "respaced"]))
def test_every_walk_descends_to_clean_in_the_steps_asked(num_steps, spacing):
    walk = NoiseSchedule.from_config({}).timesteps(num_steps, spacing=spacing)
    assert len(walk) == num_steps + 1
    assert walk[-1] == CLEAN
    assert walk[0] < 1000
    assert (np.diff(walk) < 0).all()


@pytest.mark.parametrize(("strength", "steps"), [(1.0, 50), (0.7, 35), (0.29, 14), (0.01, 0), (0.0, 0)])
def test_strength_keeps_the_last_part_of_the_walk_as_img2img_does(schedule, strength, steps):
    whole = schedule.timesteps(50)
    np.testing.assert_array_equal(schedule.timesteps(50, strength=strength), whole[50 - steps :])


def test_stable_diffusions_walk_starts_at_981_and_ends_below_its_lowest_level():
    schedule = NoiseSchedule.from_config(STABLE_DIFFUSION)
    assert schedule.timesteps(50)[[0, 1, -2, -1]].tolist() == [981, 961, 1, CLEAN]
    assert schedule.alpha_bar(np.array([CLEAN])) == schedule.alpha_bars[0]


def test_clean_has_the_whole_signal(schedule):
    assert schedule.alpha_bar(np.array([CLEAN, 0, CLEAN])).tolist() == [1.0, schedule.alpha_bars[0], 1.0]


def test_levels_keep_the_shape_of_the_times(schedule):
    assert schedule.alpha_bar(np.zeros((3, 2), np.int64)).shape == (3, 2)


def test_levels_cannot_be_written(schedule):
    with pytest.raises(ValueError, match="read-only"):
        schedule.alpha_bars[0] = 0.5


@given(time=st.integers(CLEAN, 999), seed=st.integers(0, 100))
def test_adding_noise_preserves_unit_variance(time, seed):
    schedule = NoiseSchedule.from_config(DIT)
    rng = np.random.default_rng(seed)
    clean, noise = (rng.standard_normal((2, 4, 32, 32)).astype(np.float32) for _ in range(2))
    noisy = schedule.add_noise(clean, noise, all_at(time, 2))
    assert noisy.dtype == np.float32
    # 8192 values: the standard error of their variance is 0.016
    assert noisy.var() == pytest.approx(1, abs=0.08)


def test_each_sample_is_noised_to_its_own_time(schedule):
    ones, zeros = np.ones((3, 1, 2, 2), np.float32), np.zeros((3, 1, 2, 2), np.float32)
    times = np.array([CLEAN, 10, 900])
    signal, noise = schedule.add_noise(ones, zeros, times), schedule.add_noise(zeros, ones, times)
    np.testing.assert_allclose(signal[:, 0, 0, 0] ** 2, schedule.alpha_bar(times), rtol=1e-6)
    np.testing.assert_allclose(signal**2 + noise**2, 1, rtol=1e-6)


@pytest.mark.parametrize(
    ("walk", "message"),
    [
        ({"num_steps": 0}, r"num_steps=0 does not fit the schedule; it must be 1\.\.1000"),
        ({"num_steps": 1001}, r"num_steps=1001 does not fit the schedule; it must be 1\.\.1000"),
        ({"num_steps": 10, "strength": 1.5}, r"strength=1\.5 must lie in 0\.\.1"),
        ({"num_steps": 10, "strength": -0.1}, r"strength=-0\.1 must lie in 0\.\.1"),
        ({"num_steps": 10, "spacing": "leadin"}, "unknown spacing 'leadin'; there are: leading, trailing"),
    ],
)
def test_a_walk_that_cannot_be_is_refused_with_what_would_work(schedule, walk, message):
    with pytest.raises(ConfigError, match=message):
        schedule.timesteps(**walk)


def test_an_offset_that_leaves_the_schedule_is_refused():
    schedule = NoiseSchedule.from_config({"steps_offset": 1})
    with pytest.raises(ConfigError, match="start at time 1000, past the last, 999"):
        schedule.timesteps(1000)


@pytest.mark.parametrize("time", [-2, 1000])
def test_a_time_outside_the_schedule_is_refused(schedule, time):
    with pytest.raises(ConfigError, match="leave the schedule"):
        schedule.alpha_bar(np.array([0, time]))


@pytest.mark.parametrize(
    "setting",
    [
        {"prediction_type": "v_prediction"},
        {"clip_sample": True},
        {"thresholding": True},
        {"use_karras_sigmas": True},
        {"final_sigmas_type": "sigma_min"},
        {"beta_schedule": "sigmoid"},
        {"num_train_timesteps": 0},
        {"num_train_timesteps": 100_001},
        {"steps_offset": 10**30},
        {"beta_start": -0.1},
        {"beta_end": float("nan")},
        {"trained_betas": [0.1, float("inf")]},
        {"snr_shift_scale": 3.0},
    ],
    ids=lambda setting: next(iter(setting)),
)
def test_a_config_that_means_something_else_is_refused_by_key(setting):
    with pytest.raises(ConfigError, match=rf"{next(iter(setting))}=.*cannot follow.*\n.*noise \(epsilon\)"):
        NoiseSchedule.from_config({**DIT, **setting})


def test_betas_that_leave_no_signal_are_refused():
    with pytest.raises(ConfigError, match="alpha_bar that falls at every time"):
        NoiseSchedule.from_config({"trained_betas": [0.1, 1.0]})


@pytest.mark.parametrize(
    "setting",
    [
        {"trained_betas": []},
        {"trained_betas": [0.1, 1.5], "rescale_betas_zero_snr": True},
        {"beta_start": 0, "beta_end": 0, "rescale_betas_zero_snr": True},
        {"num_train_timesteps": 50_000, "beta_end": 0.5},
    ],
    ids=["none", "past 1", "no noise", "underflow"],
)
def test_levels_that_do_not_fall_are_refused_before_they_are_rescaled(setting):
    with pytest.raises(ConfigError, match="alpha_bar that falls at every time"):
        NoiseSchedule.from_config({**DIT, **setting})


def test_one_time_cannot_be_rescaled_to_no_signal():
    with pytest.raises(ConfigError, match="rescale_betas_zero_snr needs a noise schedule of at least two times"):
        NoiseSchedule.from_config({"num_train_timesteps": 1, "rescale_betas_zero_snr": True})


@pytest.mark.torch
@pytest.mark.parametrize("name", ["DDIMScheduler", "DDPMScheduler", "PNDMScheduler", "DPMSolverMultistepScheduler"])
def test_a_config_saved_by_diffusers_is_read(name, tmp_path):
    kind = getattr(pytest.importorskip("diffusers"), name)
    clipping = {} if name in ("PNDMScheduler", "DPMSolverMultistepScheduler") else {"clip_sample": False}
    kind(**clipping).save_config(tmp_path)
    schedule = NoiseSchedule.from_config(json.loads((tmp_path / "scheduler_config.json").read_text()))
    assert schedule.num_times == 1000
