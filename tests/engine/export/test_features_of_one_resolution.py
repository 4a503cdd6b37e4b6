"""The trunk of a UNet with one up block, cut inside it, against what a hook on that layer of the torch network sees."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
diffusers = pytest.importorskip("diffusers")
pytest.importorskip("transformers")

from limbeck.errors import ExportError  # noqa: E402
from limbeck.export.features import add_features  # noqa: E402
from limbeck.export.pack import export_pack  # noqa: E402
from support.pipelines import write_pipeline  # noqa: E402

pytestmark = pytest.mark.torch

ONE_RESOLUTION = {
    "sample_size": 8,
    "block_out_channels": (16,),
    "down_block_types": ("CrossAttnDownBlock2D",),
    "up_block_types": ("CrossAttnUpBlock2D",),
}


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    return write_pipeline(tmp_path_factory.mktemp("one") / "pipeline", unet=ONE_RESOLUTION)


@pytest.fixture(scope="module")
def pack(pipeline, tmp_path_factory):
    folder = tmp_path_factory.mktemp("one-pack") / "pack"
    export_pack([str(pipeline)], folder)
    return folder


def test_a_layer_that_is_not_there_is_refused(pack):
    with pytest.raises(ExportError, match=r"layers 0 to 1, of which the first 1 have features to take; block 1 was"):
        add_features(pack, block=1)


def test_features_are_what_leaves_the_layer(pipeline, pack, run):
    add_features(pack, block=0)
    unet = diffusers.UNet2DConditionModel.from_pretrained(pipeline / "unet").eval()
    rng = np.random.default_rng(1)
    latents = rng.standard_normal((3, 4, 8, 8), dtype=np.float32)
    timestep = np.array([0, 161, 999])
    states = rng.standard_normal((3, 77, 32), dtype=np.float32)
    seen = []
    unet.up_blocks[0].attentions[0].register_forward_hook(lambda _, __, output: seen.append(output[0]))
    with torch.no_grad():
        unet(torch.tensor(latents), torch.tensor(timestep), torch.tensor(states))
    keys_values = run(pack, "conditioner", states=states)["keys_values"]
    found = run(pack, "features", latents=latents, timestep=timestep, keys_values=keys_values)["features"]
    assert found.shape == (3, 16, 8, 8)
    np.testing.assert_allclose(found, seen[0].numpy(), rtol=1e-3, atol=2e-4)
