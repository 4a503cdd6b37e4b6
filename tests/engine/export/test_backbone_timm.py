"""timm's networks, in each layout that a distillation method uses, small; and each at full size in a slow test.

timm needs torchvision, whose wheels are built for one build of torch: `make test` puts both in a folder of their own,
and runs this file and `test_backbone.py` once more with that folder on the path.
"""

import json
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

import numpy as np
import onnxruntime
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
if find_spec("timm") is None:
    pytest.skip("timm is not installed; `make test` runs this file with it", allow_module_level=True)

from limbeck.errors import ExportError  # noqa: E402
from limbeck.export.backbone import describe_timm, export_backbone, load_backbone  # noqa: E402
from limbeck.export.options import ExportOptions  # noqa: E402
from limbeck.export.pack import export_pack  # noqa: E402

pytestmark = pytest.mark.torch

RANDOM = ExportOptions(random_init=True)
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
DEPTH = 2


@dataclass(frozen=True)
class Layout:
    """A small network of a layout: timm's name, what makes it small, the side of its images, its features."""

    name: str
    side: int
    features: int
    small: dict[str, Any] = field(default_factory=dict)
    attends: bool = True


LAYOUTS = {
    "resnet18": Layout("resnet18", 64, 512, attends=False),
    "resnet50": Layout("resnet50", 64, 2048, {"layers": [1, 1, 1, 1]}, attends=False),
    "dinov2": Layout("vit_small_patch14_dinov2", 56, 384, {"depth": DEPTH}),
    "clip": Layout("vit_xsmall_patch16_clip_224", 64, 256, {"depth": DEPTH}),
    "openai-clip": Layout(
        "vit_base_patch16_clip_quickgelu_224", 64, 192, {"depth": DEPTH, "embed_dim": 192, "num_heads": 3}
    ),
    "eva02": Layout("eva02_tiny_patch14_224", 56, 192, {"depth": DEPTH}),
    "mocov3": Layout("vit_tiny_patch16_224", 64, 192, {"depth": DEPTH}),
}
FULL_SIZE = {
    "resnet18": 512,
    "resnet50": 2048,
    "vit_base_patch14_dinov2@224": 768,
    "vit_base_patch16_clip_224": 768,
    "eva02_base_patch14_224": 768,
    "vit_base_patch16_224": 768,
    "tf_efficientnet_lite0": 1280,
    "mobilenetv2_100": 1280,
}


def create(layout, redraw):
    """With every weight drawn anew: DINOv2's blocks start as nothing, their scale 1e-5, and would hide any error."""
    import timm

    return redraw(timm.create_model(layout.name, num_classes=0, **layout.small))


@pytest.fixture(scope="module", params=list(LAYOUTS))
def exported(request, tmp_path_factory, redraw):
    """A layout, its network in torch, and the graph that was made of it."""
    layout, folder = LAYOUTS[request.param], tmp_path_factory.mktemp(request.param)
    load_backbone("timm", "resnet18", RANDOM)  # declares what torchvision lacks before timm is imported
    backbone = describe_timm(create(layout, redraw), layout.name, side=layout.side)
    entry = export_backbone(backbone, folder, ExportOptions())["backbone"]
    return layout, backbone, folder / entry.file


def pixels(side, batch=5):
    return np.random.default_rng(5).standard_normal((batch, 3, side, side), dtype=np.float32)


def in_torch(network, images):
    with torch.no_grad():
        return network(torch.from_numpy(images)).numpy()


def test_the_exported_features_are_the_networks(exported):
    layout, backbone, path = exported
    images = pixels(layout.side)
    (found,) = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"pixels": images})
    expected = in_torch(backbone.network, images)
    assert found.shape == (5, layout.features)
    assert np.linalg.norm(found - expected) < 1e-4 * np.linalg.norm(expected)


def test_features_tell_images_apart(exported):
    """A network whose blocks do nothing, or that saturates, would agree with any export."""
    layout, backbone, _ = exported
    features = in_torch(backbone.network, pixels(layout.side))
    assert np.linalg.norm(features - features.mean(0)) > 0.01 * np.linalg.norm(features)


def test_attention_is_one_node_a_block(exported):
    layout, _, path = exported
    found = [node.op_type for node in onnx.load(path, load_external_data=False).graph.node]
    assert (found.count("MultiHeadAttention"), found.count("Softmax")) == (DEPTH if layout.attends else 0, 0)


@pytest.mark.parametrize("name", ["dinov2", "clip", "openai-clip", "mocov3"])
def test_a_class_token_after_the_last_norm_is_the_feature(name, redraw):
    layout = LAYOUTS[name]
    network = describe_timm(create(layout, redraw), layout.name, side=layout.side).network
    images = pixels(layout.side)
    np.testing.assert_array_equal(in_torch(network, images), in_torch(network.forward_features, images)[:, 0])


def test_the_mean_of_the_patches_is_eva02s_feature(redraw):
    layout = LAYOUTS["eva02"]
    network = describe_timm(create(layout, redraw), layout.name, side=layout.side).network
    images = pixels(layout.side)
    patches = in_torch(network.forward_features, images)[:, network.num_prefix_tokens :]
    normalized = torch.nn.functional.layer_norm(
        torch.from_numpy(patches.mean(1)), (layout.features,), network.fc_norm.weight, network.fc_norm.bias, 1e-6
    )
    np.testing.assert_allclose(in_torch(network, images), normalized.detach().numpy(), rtol=1e-4, atol=1e-5)


def test_positions_are_resized_for_another_side(redraw):
    """From 37 x 37 patches at 518 pixels to 16 x 16 at 224; the position of the class token stays."""
    layout = LAYOUTS["dinov2"]
    network = create(layout, redraw)
    native = network.pos_embed.detach().clone()
    resized = describe_timm(network, layout.name, side=224).network.pos_embed
    grid = native[:, 1:].reshape(1, 37, 37, -1).permute(0, 3, 1, 2)
    expected = torch.nn.functional.interpolate(grid, (16, 16), mode="bicubic", antialias=True).flatten(2).mT
    torch.testing.assert_close(resized.detach(), torch.cat([native[:, :1], expected], dim=1))


def test_the_side_that_was_asked_for_is_recorded():
    info = load_backbone("timm", "vit_small_patch14_dinov2@56", RANDOM).info
    assert (info.image_size, info.features, (info.mean, info.std)) == (56, 384, IMAGENET)


def test_without_a_side_the_networks_own_is_kept():
    assert load_backbone("timm", "resnet18", RANDOM).info.image_size == 224


def test_a_folder_says_architecture_and_normalization_and_is_not_named(tmp_path, redraw):
    """MoCo-v3: the layout of timm's `vit_base_patch16_224`, normalized as ImageNet, which is not timm's default."""
    import timm
    from safetensors.torch import save_file

    network = redraw(timm.create_model("vit_tiny_patch16_224", num_classes=0, depth=DEPTH))
    folder = tmp_path / "mocov3"
    folder.mkdir()
    mean, std = IMAGENET
    config = {
        "architecture": "vit_tiny_patch16_224",
        "model_args": {"depth": DEPTH},
        "pretrained_cfg": {"num_classes": 0, "input_size": [3, 224, 224], "mean": mean, "std": std},
    }
    (folder / "config.json").write_text(json.dumps(config))
    save_file(network.state_dict(), folder / "model.safetensors")
    manifest = export_pack([f"timm:local-dir:{folder}@64"], tmp_path / "pack")
    assert (manifest.backbone.mean, manifest.backbone.std, manifest.backbone.name) == (mean, std, "mocov3")
    assert str(tmp_path) not in (tmp_path / "pack/pack.json").read_text()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("resnet18@small", "must end in a number of pixels after the @"),
        ("vit_small_patch14_dinov2@7", "cannot be fed images of side 7"),
        ("resnet17", "timm cannot make 'resnet17'"),
    ],
    ids=["no number", "smaller than a patch", "no such network"],
)
def test_a_source_that_cannot_be_is_refused(source, message):
    with pytest.raises(ExportError, match=message):
        load_backbone("timm", source, RANDOM)


@pytest.mark.full_size
@pytest.mark.parametrize("source", list(FULL_SIZE))
def test_full_size_networks_keep_their_promise(tmp_path, redraw, source):
    backbone = load_backbone("timm", source, RANDOM)
    redraw(backbone.network)
    entry = export_backbone(backbone, tmp_path, ExportOptions())["backbone"]
    assert (backbone.info.features, backbone.info.image_size) == (FULL_SIZE[source], 224)
    assert entry.parity < 1e-4
