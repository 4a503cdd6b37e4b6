"""Graphs of a UNet that are not what its manifest says. (Those of a DiT: test_models.py, on a real pack.)"""

from pathlib import Path

import pytest

from limbeck.backends.base import Graph, GraphSpec
from limbeck.diffusion.pack_check import check_denoiser
from limbeck.errors import PackError
from limbeck.pack import UnetInfo
from support.graphs import tensor

TOKEN_IDS = tensor("token_ids", "batch", 77, dtype="int64")
STATES = tensor("states", "batch", 77, 32)
KEYS_VALUES = tensor("keys_values", "batch", 77, 160)
LATENTS = tensor("latents", "batch", 4, 8, 8)
TIMESTEP = tensor("timestep", "batch", dtype="int64")
PREDICTION = tensor("prediction", "batch", 4, 8, 8)

CUT = {
    "text_encoder": ([TOKEN_IDS], [STATES]),
    "conditioner": ([STATES], [KEYS_VALUES]),
    "trunk": ([LATENTS, TIMESTEP, KEYS_VALUES], [PREDICTION]),
}
WHOLE = {"text_encoder": CUT["text_encoder"], "trunk": ([LATENTS, TIMESTEP, STATES], [PREDICTION])}


def check(specs, *, cut=True):
    info = UnetInfo(latent_shape=(4, 8, 8), tokens=77, cut=cut)
    graphs = {
        role: Graph(Path("model.onnx"), GraphSpec(tuple(inputs), tuple(outputs)), digest="")
        for role, (inputs, outputs) in specs.items()
    }
    check_denoiser("small", info, graphs)


@pytest.mark.parametrize(("specs", "cut"), [(CUT, True), (WHOLE, False)], ids=["cut", "whole"])
def test_a_unet_that_fits_is_accepted(specs, cut):
    check(specs, cut=cut)


def test_one_time_for_all_samples_is_accepted():
    one_time = tensor("timestep", dtype="int64")
    check(WHOLE | {"trunk": ([LATENTS, one_time, STATES], [PREDICTION])}, cut=False)


@pytest.mark.parametrize(
    ("role", "inputs", "outputs", "needed"),
    [
        (
            "text_encoder",
            [tensor("token_ids", "batch", 64, dtype="int64")],
            [STATES],
            r"token_ids: int64 \(batch, 77\)",
        ),
        ("text_encoder", [TOKEN_IDS], [tensor("states", "batch", 32)], r"states: float32 \(batch, 77, 32\)"),
        ("text_encoder", [TOKEN_IDS], [tensor("pooled", "batch", 32)], r"states: float32 \(batch, 77\)"),
        ("conditioner", [tensor("states", "batch", 77, 48)], [KEYS_VALUES], r"states: float32 \(batch, 77, 32\)"),
        ("conditioner", [STATES], [STATES], r"keys_values: float32 \(batch, 77\)"),
        ("trunk", [LATENTS, TIMESTEP, STATES], [PREDICTION], r"keys_values: float32 \(batch, 77, 160\)"),
        ("trunk", [LATENTS, TIMESTEP, tensor("keys_values", "batch", 77, 96)], [PREDICTION], r"\(batch, 77, 160\)"),
        ("trunk", [LATENTS, tensor("timestep", "batch"), KEYS_VALUES], [PREDICTION], r"timestep: int64 \(batch\)"),
        ("trunk", [tensor("latents", 2, 4, 8, 8), TIMESTEP, KEYS_VALUES], [PREDICTION], r"latents: float32 \(batch, 4"),
        ("trunk", *CUT["trunk"][:1], [tensor("prediction", "batch", 8, 8, 8)], r"prediction: float32 \(batch, 4, 8"),
    ],
)
def test_a_graph_that_is_not_what_the_manifest_says_is_refused(role, inputs, outputs, needed):
    with pytest.raises(PackError, match=f"'small' contradicts itself: its {role} has the .*\n.*needs .*{needed}"):
        check(CUT | {role: (inputs, outputs)})
