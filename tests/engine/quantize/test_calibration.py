"""Calibration feeds are what the networks see, evenly over times, classes and branches, and the same each time."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from limbeck.backends.onnxruntime import OnnxRuntime
from limbeck.errors import ConfigError
from limbeck.models import open_models
from limbeck.pack import Pack
from limbeck.quantize.calibration import TrajectorySettings, record_trajectories

SETTINGS = TrajectorySettings(seed=3, num_samples=4, num_steps=3, max_rows=12)


def record(settings):
    return record_trajectories(Pack.open("mini"), OnnxRuntime(threads=1), settings)


@pytest.fixture(scope="module")
def calibration():
    return record(SETTINGS)


def test_every_time_and_branch_has_the_same_number_of_rows(calibration):
    counts = Counter((stratum.time, stratum.branch) for stratum in calibration.strata)
    assert set(counts.values()) == {2}


def test_every_class_has_the_same_number_of_rows(calibration):
    assert Counter(stratum.class_name for stratum in calibration.strata) == {"0": 3, "3": 3, "6": 3, "9": 3}


def test_there_is_a_stratum_for_every_row(calibration):
    assert len(calibration.strata) == len(calibration.feeds["trunk"]) == 12


def test_the_last_time_sees_noise_and_the_first_a_latent_of_the_data(calibration):
    """Pure noise has variance 1; a digit is mostly flat background, so latents of it correlate over space."""
    roughness = {}
    for stratum, feeds in zip(calibration.strata, calibration.feeds["trunk"], strict=True):
        latents = feeds["latents"]
        roughness.setdefault(stratum.time, []).append(np.diff(latents, axis=3).std() / latents.std())
    times = sorted(roughness)
    assert np.mean(roughness[times[0]]) < 0.8 * np.mean(roughness[times[-1]])


def test_a_row_is_what_the_trunk_gets_of_that_time_and_class(calibration):
    """Asked again with the null class, the conditioner gives the modulation that was recorded."""
    index = next(i for i, stratum in enumerate(calibration.strata) if stratum.branch == "null")
    stratum, pack = calibration.strata[index], Pack.open("mini")
    session = OnnxRuntime(threads=1).compile(pack.graph("conditioner"))
    made = session.infer({"timestep": np.array([stratum.time]), "class_id": np.array([10])})
    np.testing.assert_allclose(
        made["modulation"], calibration.feeds["trunk"][index]["modulation"], rtol=1e-5, atol=1e-6
    )


def test_the_decoder_was_fed_the_ends_of_the_walks(calibration):
    assert [feeds["latents"].shape for feeds in calibration.feeds["decoder"]] == [(1, 16, 8, 8)] * 4


def test_the_encoder_was_fed_the_images_of_the_decoder(calibration):
    with open_models(Pack.open("mini"), OnnxRuntime(threads=1), bucket=4) as models:
        latents = np.concatenate([feeds["latents"] for feeds in calibration.feeds["decoder"]])
        pixels = np.concatenate([feeds["pixels"] for feeds in calibration.feeds["encoder"]])
        # the codec's own scaling of latents is undone for the engine, so compare through the engine's pixels
        scale = np.float32(Pack.open("mini").manifest.codec.latent_std)[:, None, None]
        mean = np.float32(Pack.open("mini").manifest.codec.latent_mean)[:, None, None]
        images = models.codec.decode((latents - mean) / scale)
    np.testing.assert_allclose((pixels + 1) / 2, images, atol=1e-4)


def test_the_same_settings_give_the_same_feeds(calibration):
    assert record(SETTINGS).digest == calibration.digest


def test_another_seed_gives_other_feeds(calibration):
    other = TrajectorySettings(seed=4, num_samples=4, num_steps=3, max_rows=12)
    assert record(other).digest != calibration.digest


def test_the_recipe_holds_settings_and_digest(calibration):
    recipe = calibration.recipe()
    assert (recipe["seed"], recipe["guidance"], recipe["rows"], recipe["digest"]) == (3, 4.0, 12, calibration.digest)


def test_without_guidance_there_is_no_null_branch():
    calibration = record(TrajectorySettings(num_samples=2, num_steps=2, max_rows=4, guidance=1.0))
    assert {stratum.branch for stratum in calibration.strata} == {"conditional"}


def test_where_guidance_does_not_act_there_is_no_null_branch():
    settings = TrajectorySettings(num_samples=2, num_steps=2, max_rows=8, interval=(0.0, 0.3))
    null = [stratum.time for stratum in record(settings).strata if stratum.branch == "null"]
    assert set(null) == {0}


def test_classes_by_name_are_walked_in_turn():
    settings = TrajectorySettings(num_samples=3, num_steps=1, max_rows=6, classes=("7", "2"))
    assert {stratum.class_name for stratum in record(settings).strata} == {"7", "2"}


def test_batches_hold_the_rows_in_order(calibration):
    batches = list(calibration.batches("trunk", 5))
    assert [len(batch["latents"]) for batch in batches] == [5, 5, 2]


def test_rows_that_do_not_reach_every_step_are_refused():
    with pytest.raises(ConfigError, match="allow max_rows=20, or take fewer steps"):
        TrajectorySettings(num_steps=10, max_rows=19)
