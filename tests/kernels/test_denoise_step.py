"""Each kernel against its closed form, for samples at different levels in one batch."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from limbeck_kernels import denoise_step as kernel

FROM, TO = np.array([0.05, 0.5, 0.9]), np.array([0.2, 0.95, 1.0])


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def latents(rng):
    return rng.standard_normal((3, 2, 4, 4)).astype(np.float32)


def test_predicting_clean_undoes_adding_noise(rng):
    clean, noise = latents(rng), latents(rng)
    noisy = kernel.add_noise(clean, noise, FROM)
    np.testing.assert_allclose(kernel.predict_clean(noisy, noise, FROM), clean, atol=2e-6)


def test_a_ddim_step_with_the_true_noise_lands_on_the_noised_latent(rng):
    clean, noise = latents(rng), latents(rng)
    stepped = kernel.ddim_step(kernel.add_noise(clean, noise, FROM), noise, FROM, TO)
    np.testing.assert_allclose(stepped, kernel.add_noise(clean, noise, TO), atol=2e-6)


def test_a_dpm_step_with_the_true_clean_latent_lands_on_the_noised_latent(rng):
    clean, noise = latents(rng), latents(rng)
    stepped = kernel.dpm_step(kernel.add_noise(clean, noise, FROM), clean, FROM, TO)
    np.testing.assert_allclose(stepped, kernel.add_noise(clean, noise, TO), atol=2e-6)


def test_extrapolation_is_exact_for_a_prediction_linear_in_log_snr(rng):
    earlier, start, end = np.array([[0.05, 0.3], [0.2, 0.6], [0.5, 0.7]])
    slope, offset = latents(rng)[:2], latents(rng)[:2]

    def half_log_snr(level):
        return (np.log(level / (1 - level)) / 2)[:, None, None, None]

    def prediction(place):
        return (offset + slope * place).astype(np.float32)

    middle = kernel.dpm_extrapolate(
        prediction(half_log_snr(start)), prediction(half_log_snr(earlier)), earlier, start, end
    )
    expected = prediction((half_log_snr(start) + half_log_snr(end)) / 2)
    np.testing.assert_allclose(middle, expected, atol=2e-6)


@pytest.mark.parametrize("num_earlier", [0, 1, 2, 3])
def test_adams_bashforth_integrates_a_polynomial_of_its_order_exactly(num_earlier):
    """With k earlier values at unit spacing, the mean over the next step of any polynomial of degree k."""
    places = -np.arange(4.0)
    values = np.float32(places**num_earlier)[:, None, None, None, None]
    slope = kernel.adams_bashforth(values[0], values[1:], np.array([num_earlier]))
    assert slope.item() == pytest.approx(1 / (num_earlier + 1), abs=1e-6)


def test_a_ddpm_step_draws_from_the_posterior_that_bayes_rule_gives(rng):
    """The product of N(z_s; sqrt(a_s) z_0, 1 - a_s) and N(z_t; b z_s, beta) over z_s, weighted by precision."""
    clean, noisy, noise = latents(rng), latents(rng), latents(rng)
    a_t, a_s = FROM[:2, None, None, None], TO[:2, None, None, None]
    clean, noisy, noise = clean[:2], noisy[:2], noise[:2]
    b, beta = np.sqrt(a_t / a_s), 1 - a_t / a_s
    variance = 1 / (1 / (1 - a_s) + b**2 / beta)
    mean = variance * (np.sqrt(a_s) * clean / (1 - a_s) + b * noisy / beta)
    drawn = kernel.ddpm_step(noisy, clean, noise, kernel.posterior_variance(FROM[:2], TO[:2]), FROM[:2], TO[:2])
    np.testing.assert_allclose(drawn, mean + np.sqrt(variance) * noise, atol=2e-6)


def test_variance_may_differ_by_element(rng):
    clean, noisy, noise = latents(rng), latents(rng), latents(rng)
    whole = kernel.ddpm_step(noisy, clean, noise, kernel.upper_variance(FROM, TO), FROM, TO)
    spread = np.broadcast_to(kernel.upper_variance(FROM, TO)[:, None, None, None], noisy.shape)
    np.testing.assert_array_equal(kernel.ddpm_step(noisy, clean, noise, spread, FROM, TO), whole)


@given(share=st.floats(0, 1))
def test_learned_variance_is_a_geometric_mean_of_its_bounds(share):
    levels = FROM[:2], TO[:2]
    interpolation = np.full((2, 1, 1, 1), 2 * share - 1, np.float32)
    expected = kernel.posterior_variance(*levels) ** (1 - share) * kernel.upper_variance(*levels) ** share
    np.testing.assert_allclose(kernel.learned_variance(interpolation, *levels).ravel(), expected, rtol=1e-5)


def test_learned_variance_is_finite_on_the_step_to_the_clean_latent():
    variance = kernel.learned_variance(np.zeros((1, 1, 1, 1), np.float32), np.array([0.9]), np.array([1.0]))
    assert np.isfinite(variance).all()


@given(scale=st.floats(0, 20), conditional=st.floats(-3, 3, width=32), null=st.floats(-3, 3, width=32))
def test_guidance_is_linear_in_scale(scale, conditional, null):
    pair = np.full((1, 1, 1, 1), conditional, np.float32), np.full((1, 1, 1, 1), null, np.float32)
    expected = (1 - scale) * null + scale * conditional
    assert kernel.guide(*pair, scale).item() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("by_element", [False, True])
def test_a_pull_is_the_spread_times_the_distance_to_the_target(rng, by_element):
    z, target, reference = latents(rng), latents(rng), latents(rng)
    spread = np.abs(latents(rng)).astype(np.float64) if by_element else np.array([0.1, 0.5, 2.0])
    pulled = kernel.pull(z, target, reference, spread**2, 0.25)
    column = spread if by_element else spread[:, None, None, None]
    np.testing.assert_allclose(pulled, z + 0.25 * column * (target - reference), atol=2e-6)


def test_the_clean_latent_of_a_pulled_prediction_lies_between_clean_and_target(rng):
    """With scale sqrt(a) / (1 - a) it is the target itself."""
    z, noise, target = latents(rng), latents(rng), latents(rng)
    level, whole = FROM[:1], np.sqrt(FROM[0]) / (1 - FROM[0])
    clean = kernel.predict_clean(z[:1], noise[:1], level)
    for share in (0.0, 0.5, 1.0):
        pulled = kernel.pull_noise(noise[:1], target[:1], clean, level, share * whole)
        implied = kernel.predict_clean(z[:1], pulled, level)
        np.testing.assert_allclose(implied, (1 - share) * clean + share * target[:1], atol=1e-5)


def test_inputs_are_not_changed_and_outputs_are_float32(rng):
    clean, noise = latents(rng), latents(rng)
    before = clean.copy(), noise.copy()
    outputs = [
        kernel.add_noise(clean, noise, FROM),
        kernel.predict_clean(clean, noise, FROM),
        kernel.ddim_step(clean, noise, FROM, TO),
        kernel.dpm_step(clean, noise, FROM, TO),
        kernel.ddpm_step(clean, noise, noise, kernel.upper_variance(FROM, TO), FROM, TO),
        kernel.guide(clean, noise, 2.0),
    ]
    assert {output.dtype for output in outputs} == {np.dtype(np.float32)}
    np.testing.assert_array_equal([clean, noise], before)
