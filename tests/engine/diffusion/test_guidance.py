import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.backends.onnxruntime import OnnxRuntime
from limbeck.diffusion.batching import in_buckets
from limbeck.diffusion.guidance import Guided
from limbeck.diffusion.schedule import NoiseSchedule
from limbeck.errors import ConfigError
from limbeck.models import open_models
from limbeck.pack import Pack
from support.gaussian import GaussianDenoiser, Recorded, all_at

SHAPE = (4, 2, 2)
GAUSSIAN = GaussianDenoiser.random(NoiseSchedule.from_config({}), num_classes=2, latent_shape=SHAPE)
CONDITION = GAUSSIAN.conditioning.of_classes(["class 1", "class 0", "class 1"])
LATENTS = np.random.default_rng(1).standard_normal((3, *SHAPE)).astype(np.float32)


def predictions(times):
    """With the class, and without."""
    return GAUSSIAN(LATENTS, times, CONDITION), GAUSSIAN(LATENTS, times, GAUSSIAN.conditioning.null(3))


@given(scale=st.floats(0, 20))
def test_guidance_is_linear_in_scale_between_null_and_conditional(scale):
    times = np.array([10, 500, 999])
    conditional, null = predictions(times)
    guided = Guided(GAUSSIAN, GAUSSIAN.conditioning, scale=scale)(LATENTS, times, CONDITION)
    assert guided.dtype == np.float32
    np.testing.assert_allclose(guided, (1 - scale) * null + scale * conditional, atol=1e-4)


def test_both_predictions_come_from_one_batch():
    asked = Recorded(GAUSSIAN)
    Guided(asked, GAUSSIAN.conditioning, scale=4)(LATENTS, np.array([1, 2, 3]), CONDITION)
    assert asked.times == [[1, 2, 3, 1, 2, 3]]


def test_scale_one_costs_one_conditional_pass():
    times = np.array([1, 2, 3])
    asked = Recorded(GAUSSIAN)
    guided = Guided(asked, GAUSSIAN.conditioning, scale=1)(LATENTS, times, CONDITION)
    assert asked.times == [[1, 2, 3]]
    np.testing.assert_array_equal(guided, GAUSSIAN(LATENTS, times, CONDITION))


@given(
    times=st.lists(st.integers(0, 999), min_size=3, max_size=3),
    bounds=st.lists(st.floats(0, 1), min_size=2, max_size=2).map(sorted),
)
def test_outside_the_interval_a_sample_is_conditional(times, bounds):
    times = np.array(times)
    conditional, _ = predictions(times)
    everywhere = Guided(GAUSSIAN, GAUSSIAN.conditioning, scale=4)(LATENTS, times, CONDITION)
    within = Guided(GAUSSIAN, GAUSSIAN.conditioning, scale=4, interval=tuple(bounds))(LATENTS, times, CONDITION)
    for i, time in enumerate(times):
        inside = bounds[0] * 1000 <= time <= bounds[1] * 1000
        np.testing.assert_array_equal(within[i], everywhere[i] if inside else conditional[i])


def test_a_sample_outside_the_interval_costs_one_row():
    asked = Recorded(GAUSSIAN)
    guided = Guided(asked, GAUSSIAN.conditioning, scale=4, interval=(0.2, 0.8))
    guided(LATENTS, np.array([100, 500, 900]), CONDITION)
    assert asked.times == [[100, 500, 900, 500]]


def test_the_interval_is_a_fraction_of_the_times_there_are():
    asked = Recorded(GAUSSIAN)
    guided = Guided(asked, GAUSSIAN.conditioning, scale=4, interval=(0.2, 0.8), num_times=100)
    guided(LATENTS, np.array([10, 50, 90]), CONDITION)
    assert asked.times == [[10, 50, 90, 50]]


@pytest.fixture(scope="module")
def mini():
    with open_models(Pack.open("mini"), OnnxRuntime(threads=1), bucket=4) as models:
        yield models


@settings(max_examples=10)
@given(
    asked=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 999)), min_size=2, max_size=7), seed=st.integers(0, 99)
)
def test_in_buckets_of_a_real_network_a_sample_does_not_depend_on_its_neighbors(mini, asked, seed):
    """Bit for bit, though neighbors outside the interval change which bucket, and which row of it, a sample is in."""
    guided = Guided(mini.denoiser, mini.conditioning, scale=4, interval=(0.2, 0.8))
    latents = np.random.default_rng(seed).standard_normal((len(asked), *mini.latent_shape), np.float32)
    condition = mini.conditioning.of_classes([str(digit) for digit, _ in asked])
    times = np.array([time for _, time in asked])
    together = guided(latents, times, condition)
    for row in range(len(asked)):
        alone = guided(latents[row : row + 1], times[row : row + 1], condition.take([row]))
        np.testing.assert_array_equal(together[row : row + 1], alone)


@given(st.lists(st.integers(0, 999), min_size=1, max_size=12), st.integers(1, 8))
def test_no_more_buckets_run_than_the_rows_fill(times, bucket):
    """One row a sample and one more where guidance acts: only the last bucket is padded."""
    calls = []

    def infer(feeds):
        calls.append(len(feeds["latents"]))
        return {"noise": feeds["latents"]}

    def network(latents, times, condition):
        return in_buckets(infer, {"latents": latents}, bucket=bucket)["noise"]

    latents = np.zeros((len(times), *SHAPE), np.float32)
    condition = GAUSSIAN.conditioning.of_classes(["class 0"] * len(times))
    Guided(network, GAUSSIAN.conditioning, scale=4, interval=(0.2, 0.8))(latents, np.array(times), condition)
    rows = len(times) + sum(200 <= time <= 800 for time in times)
    assert calls == [bucket] * math.ceil(rows / bucket)


@given(st.integers(0, 999))
def test_the_rows_of_a_sample_are_known_beforehand(time):
    guided = Guided(GAUSSIAN, GAUSSIAN.conditioning, scale=4, interval=(0.2, 0.8))
    assert guided.rows_per_sample(time) == (2 if 200 <= time <= 800 else 1)


def test_a_walk_begins_apart_for_both_conditions():
    """A denoiser that keeps something from step to step keeps it for each: rows of one are never those of the other."""
    begun = []

    class Walking(Recorded):
        def begin(self, condition, walks):
            begun.append((condition.class_ids, walks.tolist()))
            return condition

    guided, times = Guided(Walking(GAUSSIAN), GAUSSIAN.conditioning, scale=4), np.array([[9, 9, 9], [5, 9, 5]])
    condition = guided.begin(CONDITION, times)
    assert begun == [((1, 0, 1), times.tolist()), ((2, 2, 2), times.tolist())]
    np.testing.assert_array_equal(
        guided(LATENTS[[0, 2]], times[0, [0, 2]], condition.take([0, 2])),
        guided(LATENTS[[0, 2]], times[0, [0, 2]], CONDITION.take([0, 2])),
    )


def test_three_guided_channels_leave_the_fourth_conditional():
    times = all_at(300, 3)
    conditional, _ = predictions(times)
    everywhere = Guided(GAUSSIAN, GAUSSIAN.conditioning, scale=4)(LATENTS, times, CONDITION)
    guided = Guided(GAUSSIAN, GAUSSIAN.conditioning, scale=4, channels=3)(LATENTS, times, CONDITION)
    np.testing.assert_array_equal(guided[:, :3], everywhere[:, :3])
    np.testing.assert_array_equal(guided[:, 3:], conditional[:, 3:])


def test_variance_is_the_conditional_predictions():
    times = np.array([10, 500, 999])
    guided = Guided(GAUSSIAN, GAUSSIAN.conditioning, scale=4)
    noise, variance = guided.with_variance(LATENTS, times, CONDITION)
    np.testing.assert_array_equal(noise, guided(LATENTS, times, CONDITION))
    np.testing.assert_array_equal(variance, GAUSSIAN.with_variance(LATENTS, times, CONDITION)[1])


def test_variance_of_a_denoiser_without_learned_sigma_is_refused():
    guided = Guided(Recorded(GAUSSIAN), GAUSSIAN.conditioning, scale=4)
    with pytest.raises(ConfigError, match="Recorded has no learned sigma; use variance='posterior'"):
        guided.with_variance(LATENTS, all_at(5, 3), CONDITION)


@pytest.mark.parametrize(
    ("guidance", "message"),
    [
        ({"scale": -1.0}, "scale must be a number of at least 0"),
        ({"scale": float("nan")}, "scale must be a number of at least 0"),
        ({"scale": 4.0, "interval": (0.8, 0.2)}, "two rising fractions"),
        ({"scale": 4.0, "interval": (0.0, 1.2)}, "two rising fractions"),
        ({"scale": 4.0, "channels": 0}, "at least 1, or None for all"),
    ],
)
def test_settings_that_cannot_work_are_refused(guidance, message):
    with pytest.raises(ConfigError, match=message):
        Guided(GAUSSIAN, GAUSSIAN.conditioning, **guidance)
