"""A pack whose parts contradict each other is refused before a backend sees a graph."""

import json

import pytest

from limbeck.backbone import open_backbone
from limbeck.backends.base import Backend
from limbeck.backends.null import Null
from limbeck.errors import PackError
from limbeck.models import open_models
from limbeck.pack import MANIFEST, Pack, file_entry, shipped_packs

SCHEDULE = "scheduler/scheduler_config.json"


class Untouched(Backend):
    """Fails the test that compiles with it."""

    name = "untouched"

    def compile(self, graph):
        pytest.fail("a graph was compiled")

    def fingerprint(self):
        return ""


@pytest.fixture
def mini(tmp_path):
    """A copy of "mini" by links, and its manifest to change."""
    source = shipped_packs()["mini"]
    for entry in source.iterdir():
        if entry.name not in (MANIFEST, "scheduler"):
            (tmp_path / entry.name).symlink_to(entry)
    (tmp_path / SCHEDULE).parent.mkdir()
    (tmp_path / SCHEDULE).write_bytes((source / SCHEDULE).read_bytes())
    return tmp_path, json.loads((source / MANIFEST).read_text(encoding="utf-8"))


def opened(mini):
    folder, manifest = mini
    manifest["files"][SCHEDULE] = file_entry(folder / SCHEDULE).model_dump()
    (folder / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    return Pack.open(folder)


def refused(mini, opens, message):
    pack = opened(mini)
    with pytest.raises(PackError, match=message), opens(pack, Untouched()):
        pass


@pytest.mark.parametrize(
    ("role", "side", "change", "needed"),
    [
        ("conditioner", "inputs", {"name": "time"}, r"timestep: int64 \(batch\); class_id: int64 \(batch\)"),
        ("conditioner", "inputs", {"dtype": "float32"}, r"timestep: int64 \(batch\)"),
        ("conditioner", "outputs", {"name": "latents"}, "modulation: float32"),
        ("trunk", "inputs", {"shape": ["batch", 4, 8, 8]}, r"latents: float32 \(batch, 16, 8, 8\)"),
        ("trunk", "inputs", {"shape": [1, 16, 8, 8]}, r"latents: float32 \(batch, 16, 8, 8\)"),
        ("trunk", "outputs", {"shape": ["batch", 16, 8, 8]}, r"prediction: float32 \(batch, 32, 8, 8\)"),
        ("encoder", "inputs", {"shape": ["batch", 3, 32, 32]}, r"pixels: float32 \(batch, 3, free or 64, free or 64\)"),
        ("encoder", "outputs", {"shape": ["batch", 4, "h", "w"]}, r"latents: float32 \(batch, 16, free or 8, free or"),
        ("decoder", "inputs", {"name": "x"}, "latents: float32"),
        ("decoder", "outputs", {"shape": ["batch", 3]}, "pixels: float32"),
    ],
)
def test_a_graph_that_is_not_what_the_manifest_says_is_refused(mini, role, side, change, needed):
    mini[1]["graphs"][role][side][0].update(change)
    refused(mini, open_models, f"'mini' contradicts itself: its {role} has the {side} .*\n.*needs {needed}")


def test_a_trunk_that_does_not_take_the_conditioners_modulation_is_refused(mini):
    mini[1]["graphs"]["conditioner"]["outputs"][0]["shape"] = ["batch", 5, 6, 256]
    refused(mini, open_models, r"its trunk has the inputs .*\n.*modulation: float32 \(batch, 5, 6, 256\)")


def test_a_prediction_of_twice_the_channels_needs_a_learned_sigma(mini):
    mini[1]["denoiser"]["learned_sigma"] = False
    refused(mini, open_models, r"its trunk has the outputs prediction: float32 \(batch, 32, 8, 8\)")


def test_a_posterior_that_the_encoder_does_not_give_is_refused(mini):
    mini[1]["codec"]["has_posterior"] = True
    refused(mini, open_models, r"its encoder has the outputs .*\n.*log_variance")


def test_an_output_that_is_named_twice_is_refused(mini):
    outputs = mini[1]["graphs"]["decoder"]["outputs"]
    outputs.append(outputs[0])
    refused(mini, open_models, "its decoder has the outputs pixels.*; pixels")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_size": 128}, "has the inputs .*\n.*free or 128"),
        ({"features": 7}, r"has the outputs .*\n.*\(batch, 7\)"),
    ],
)
def test_a_backbone_that_is_not_what_the_manifest_says_is_refused(mini, change, message):
    mini[1]["backbone"].update(change)
    refused(mini, open_backbone, f"its backbone {message}")


def test_a_pack_without_backbone_says_how_to_export_one(mini):
    mini[1]["backbone"] = None
    refused(mini, open_backbone, "limbeck export SOURCE efficientnet-lite0:FILE --out PACK")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (b"{", "cannot be read as a scheduler config, a JSON object in UTF-8: Expecting"),
        (b'{"beta_end": "\xff"}', "cannot be read as a scheduler config, a JSON object in UTF-8: .*decode"),
        (b"[" * 100_000, "cannot be read as a scheduler config"),
        (b"[1, 2]", r"is no scheduler config: it holds \[1, 2\], not a JSON object"),
        (b'{"clip_sample": true}', "noise schedule that cannot be walked: the scheduler config has clip_sample=True"),
        (b'{"beta_end": NaN}', "noise schedule that cannot be walked: the scheduler config has beta_end=nan"),
        (b'{"num_train_timesteps": 1000000000000}', "cannot be walked: .*num_train_timesteps=1000000000000"),
    ],
    ids=["cut", "no text", "deep", "list", "clipping", "no number", "too long"],
)
def test_a_noise_schedule_that_is_none_is_refused(mini, config, message):
    (mini[0] / SCHEDULE).write_bytes(config)
    refused(mini, open_models, message)


def test_the_features_know_of_which_block_of_the_denoiser_they_are():
    pack = Pack.open(shipped_packs()["mini"])
    with open_models(pack, Null(), needs={"denoiser", "features"}) as models:
        assert models.features.block == pack.manifest.graphs["features"].recipe["block"] == 2
