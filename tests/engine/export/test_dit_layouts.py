"""Class-conditional DiTs of diffusers that are not laid out as DiT-XL/2 is."""

import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("diffusers")

from limbeck.export.pack import export_pack
from limbeck.pack import Pack

pytestmark = pytest.mark.torch


@pytest.mark.parametrize(
    "config",
    [
        {"patch_size": 4, "out_channels": 4, "num_attention_heads": 3, "attention_head_dim": 8},
        {"patch_size": 8, "activation_fn": "geglu", "attention_bias": False, "in_channels": 16, "out_channels": 32},
        {"patch_size": 1, "num_layers": 1, "norm_elementwise_affine": True, "norm_eps": 1e-4},
    ],
    ids=["patches of 4, no learned sigma", "one patch, gated, wide latents", "patches of 1, affine norms"],
)
def test_it_keeps_its_promise(tmp_path, make_dit, save_pipeline, config):
    manifest = export_pack([str(save_pipeline(tmp_path / "pipeline", make_dit(**config)))], tmp_path / "pack")
    assert max(graph.parity for graph in manifest.graphs.values()) < 1e-4
    assert Pack.open(tmp_path / "pack").manifest.denoiser.learned_sigma == (config.get("out_channels") != 4)
