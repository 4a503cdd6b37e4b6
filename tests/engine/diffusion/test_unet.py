"""`UnetDenoiser` on a trunk in closed form: it adds time + 1000 times the prompt's length to the latents."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from limbeck.diffusion.schedule import NoiseSchedule
from limbeck.diffusion.text_condition import PromptTable, TextCondition
from limbeck.diffusion.unet import UnetDenoiser
from limbeck.errors import ConfigError
from limbeck.pack import UnetInfo
from support.functions import function_engine
from support.graphs import tensor

SHAPE = (4, 2, 2)
SCHEDULE = NoiseSchedule.from_config({})

asked = st.lists(st.tuples(st.integers(0, 999), st.text(alphabet="ab", max_size=4)), min_size=1, max_size=15)


def closed(*, bucket=4, shares_time=False, prediction="epsilon", answer=None):
    """A denoiser, and what its trunk was fed."""

    def add(latents, timestep, states):
        shift = timestep + 1000 * states[:, 0, 0]
        return {"prediction": (latents + shift[:, None, None, None]).astype(np.float32)}

    states = tensor("states", "batch", 1, 1)
    encoder, _ = function_engine(
        [tensor("token_ids", "batch", 1, dtype="int64")],
        [states],
        lambda token_ids: {"states": token_ids[..., None].astype(np.float32)},
    )
    time = () if shares_time else ("batch",)
    trunk, calls = function_engine(
        [tensor("latents", "batch", *SHAPE), tensor("timestep", *time, dtype="int64"), states],
        [tensor("prediction", "batch", *SHAPE)],
        answer or add,
    )
    prompts = PromptTable(
        lambda prompts: np.array([[len(prompt)] for prompt in prompts], np.int64),
        encoder,
        None,
        bucket=bucket,
        table_nbytes=2**20,
    )
    info = UnetInfo(latent_shape=SHAPE, tokens=1, cut=False, prediction=prediction)
    return UnetDenoiser(info, prompts, trunk, schedule=SCHEDULE, bucket=bucket), calls


def parts(asked, seed=0):
    latents = np.random.default_rng(seed).standard_normal((len(asked), *SHAPE)).astype(np.float32)
    return latents, np.array([time for time, _ in asked], np.int64), TextCondition(tuple(name for _, name in asked))


@given(asked, st.integers(1, 6), st.booleans(), st.integers(0, 2**16))
def test_a_sample_has_its_own_time_and_prompt_whatever_the_bucket(asked, bucket, shares_time, seed):
    denoiser, _ = closed(bucket=bucket, shares_time=shares_time)
    latents, times, condition = parts(asked, seed)
    shift = np.array([time + 1000 * len(name) for time, name in asked])[:, None, None, None]
    expected = (latents + shift).astype(np.float32)
    np.testing.assert_array_equal(denoiser(latents, times, condition), expected, strict=True)


def test_the_trunk_runs_in_buckets():
    denoiser, calls = closed(bucket=4)
    denoiser(*parts([(5, "a"), (6, "b"), (7, "a"), (8, "b"), (9, "a")]))
    assert [len(feeds["latents"]) for feeds in calls] == [4, 4]


def test_a_trunk_with_one_time_a_call_is_asked_for_one_time_after_another():
    denoiser, calls = closed(bucket=2, shares_time=True)
    denoiser(*parts([(5, "a"), (6, "b"), (5, "b"), (6, "a"), (5, "a")]))
    assert [int(feeds["timestep"]) for feeds in calls] == [5, 5, 6]


def test_latents_are_not_changed():
    latents, times, condition = parts([(5, "a"), (6, "b")])
    before = latents.copy()
    closed()[0](latents, times, condition)
    np.testing.assert_array_equal(latents, before)


def test_a_velocity_becomes_the_noise(rng):
    """v = sqrt(alpha_bar) noise - sqrt(1 - alpha_bar) clean (Salimans & Ho 2022), for known clean and noise."""
    times = np.array([0, 20, 500, 999])
    clean, noise = rng.standard_normal((2, 4, *SHAPE))
    level = SCHEDULE.alpha_bar(times)[:, None, None, None]
    velocity = np.sqrt(level) * noise - np.sqrt(1 - level) * clean
    noisy = (np.sqrt(level) * clean + np.sqrt(1 - level) * noise).astype(np.float32)
    denoiser, _ = closed(prediction="v_prediction", answer=lambda **_: {"prediction": velocity.astype(np.float32)})
    found = denoiser(noisy, times, TextCondition(("a",) * 4))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, noise, rtol=1e-5, atol=1e-5)


def test_a_condition_of_another_kind_is_refused():
    latents, times, _ = parts([(5, "a")])
    with pytest.raises(ConfigError, match="a text-conditional denoiser takes a TextCondition, got list"):
        closed()[0](latents, times, [0])
