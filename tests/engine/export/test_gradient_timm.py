"""The gradients of timm's layouts against torch's autograd, small; and each at full size in a test of its own.

Like `test_backbone_timm.py`, `make test` runs this file once more with timm on the path.
"""

from importlib.util import find_spec

import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")
if find_spec("timm") is None:
    pytest.skip("timm is not installed; `make test` runs this file with it", allow_module_level=True)

from limbeck.export.backbone import describe_timm, export_backbone, load_backbone
from limbeck.export.options import ExportOptions

pytestmark = pytest.mark.torch

RANDOM = ExportOptions(random_init=True)
LAYOUTS = {
    "resnet18": ("resnet18", 64, {}),
    "dinov2": ("vit_small_patch14_dinov2", 56, {"depth": 2}),
    "clip": ("vit_xsmall_patch16_clip_224", 64, {"depth": 2}),
    "openai-clip": ("vit_base_patch16_clip_quickgelu_224", 64, {"depth": 2, "embed_dim": 192, "num_heads": 3}),
    "eva02": ("eva02_tiny_patch14_224", 56, {"depth": 2}),
    "mocov3": ("vit_tiny_patch16_224", 64, {"depth": 2}),
}
FULL_SIZE = [
    "resnet18",
    "vit_base_patch14_dinov2@224",
    "vit_base_patch16_clip_224",
    "eva02_base_patch14_224",
    "vit_base_patch16_224",
    "tf_efficientnet_lite0",
    "mobilenetv2_100",
]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_gradient_is_autograds(tmp_path, redraw, layout):
    """Exporting compares both gradient graphs with autograd; weights are drawn so that no block is the identity."""
    name, side, small = LAYOUTS[layout]
    load_backbone("timm", "resnet18", RANDOM)  # declares what torchvision lacks before timm is imported
    import timm

    network = redraw(timm.create_model(name, num_classes=0, **small))
    graphs = export_backbone(describe_timm(network, name, side=side), tmp_path, ExportOptions(gradient=True))
    assert list(graphs) == ["backbone", "gradient", "flow_gradient"]
    assert all(entry.parity < 1e-4 for entry in graphs.values())


@pytest.mark.full_size
@pytest.mark.parametrize("source", FULL_SIZE)
def test_full_size_networks_keep_their_promise(tmp_path, redraw, source):
    backbone = load_backbone("timm", source, RANDOM)
    redraw(backbone.network)
    graphs = export_backbone(backbone, tmp_path, ExportOptions(gradient=True))
    assert all(entry.parity < 1e-4 for entry in graphs.values())
