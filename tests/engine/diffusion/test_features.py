"""Diffusion features: of closed forms, and of the shipped pack."""

from __future__ import annotations

import numpy as np
import pytest

from limbeck.backends.onnxruntime import OnnxRuntime
from limbeck.diffusion.denoiser import ClassCondition, DitDenoiser
from limbeck.diffusion.features import DiffusionFeatures
from limbeck.errors import EngineError, PackError
from limbeck.models import GENERATING, open_models
from limbeck.pack import DenoiserInfo, Pack, write_manifest
from support.functions import function_engine
from support.graphs import tensor

SHAPE = (4, 2, 2)
INFO = DenoiserInfo(latent_shape=SHAPE, classes=("cat", "dog"), null_class=2, learned_sigma=False)


@pytest.fixture
def dit():
    """A DiT whose conditioner says (time, class) and an end that its features do not need, and its trunk's part."""
    conditioner, _ = function_engine(
        [tensor("timestep", "batch", dtype="int64"), tensor("class_id", "batch", dtype="int64")],
        [tensor("modulation", "batch", 2), tensor("final_modulation", "batch", 1)],
        lambda timestep, class_id: {
            "modulation": np.stack([timestep, class_id], axis=1).astype(np.float32),
            "final_modulation": timestep[:, None].astype(np.float32),
        },
    )
    trunk, _ = function_engine(
        [tensor("latents", "batch", *SHAPE), tensor("modulation", "batch", 2), tensor("final_modulation", "batch", 1)],
        [tensor("prediction", "batch", *SHAPE)],
        lambda latents, modulation, final_modulation: {"prediction": latents},
    )
    part, calls = function_engine(
        [tensor("latents", "batch", *SHAPE), tensor("modulation", "batch", 2)],
        [tensor("features", "batch", 1, 2, 2)],
        lambda latents, modulation: {"features": latents[:, :1] + (modulation @ [1, 1000])[:, None, None, None]},
    )
    return DitDenoiser(INFO, conditioner, trunk, bucket=4), part, calls


def test_the_part_of_the_trunk_is_given_what_it_takes_of_the_trunks_inputs(dit):
    denoiser, part, calls = dit
    latents = np.random.default_rng(0).standard_normal((6, *SHAPE), np.float32)
    times, classes = np.array([0, 5, 999, 161, 161, 7]), np.array([0, 1, 2, 0, 1, 1])
    maps = DiffusionFeatures(denoiser, part).maps(latents, times, ClassCondition(classes))
    np.testing.assert_allclose(maps, latents[:, :1] + (times + 1000 * classes)[:, None, None, None], rtol=1e-6)
    assert [sorted(feeds) for feeds in calls] == [["latents", "modulation"]] * 2
    assert {len(feeds["latents"]) for feeds in calls} == {4}, "buckets are full"


def test_the_shape_of_the_maps_is_known_before_anything_runs(dit):
    denoiser, part, calls = dit
    assert DiffusionFeatures(denoiser, part).shape == (1, 2, 2)
    assert not calls


def test_the_shipped_pack_gives_maps_that_tell_times_and_classes_apart():
    with open_models(Pack.open("mini"), OnnxRuntime(), needs=GENERATING | {"features"}, bucket=2) as models:
        latents = np.random.default_rng(0).standard_normal((1, *models.latent_shape), np.float32).repeat(3, axis=0)
        condition = models.conditioning.of_classes(["3", "3", "5"])
        maps = models.features.maps(latents, np.array([161, 400, 161]), condition)
        assert maps.shape == (3, *models.features.shape)
        assert not np.allclose(maps[0], maps[1], atol=0.1)
        assert not np.allclose(maps[0], maps[2], atol=0.1)


def test_a_pack_without_features_is_refused_with_what_makes_them(tmp_path):
    manifest = Pack.open("mini").manifest
    graphs = {role: entry for role, entry in manifest.graphs.items() if role != "features"}
    write_manifest(tmp_path, manifest.model_copy(update={"graphs": graphs}))
    opening = open_models(Pack.open(tmp_path), OnnxRuntime(), needs=GENERATING | {"features"})
    with pytest.raises(PackError, match="no diffusion features; export it with"):
        opening.__enter__()


def test_features_that_a_method_does_not_need_are_absent():
    with open_models(Pack.open("mini"), OnnxRuntime(), needs=GENERATING, bucket=1) as models:
        assert "features" not in models.engines
        with pytest.raises(EngineError, match="the features was not opened"):
            models.features.maps(np.zeros((1, *models.latent_shape), np.float32), np.array([0]), None)
