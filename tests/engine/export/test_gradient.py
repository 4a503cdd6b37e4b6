"""`export --gradient` on a small convolutional backbone: what it writes, that it is right, and what is refused."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from limbeck.backbone import open_gradient  # noqa: E402
from limbeck.backends.onnxruntime import OnnxRuntime  # noqa: E402
from limbeck.errors import ExportError, ParityError  # noqa: E402
from limbeck.export.backbone import BackboneNetwork, export_backbone  # noqa: E402
from limbeck.export.efficientnet_lite import EfficientNetLite0  # noqa: E402
from limbeck.export.gradient import check_gradient  # noqa: E402
from limbeck.export.mobilenet_v2 import MobileNetV2  # noqa: E402
from limbeck.export.options import ExportOptions  # noqa: E402
from limbeck.export.pack import export_pack  # noqa: E402
from limbeck.export.weights import round_to_half  # noqa: E402
from limbeck.pack import BackboneInfo, Pack, PackManifest, file_entry, write_manifest  # noqa: E402
from limbeck_kernels.distances import relative_error  # noqa: E402
from limbeck_kernels.flow import flow, flow_loss  # noqa: E402

pytestmark = pytest.mark.torch

SIDE, WIDTH, CLASSES = 16, 24, 3


class Curved(torch.nn.Module):
    """A smooth network: no kink, so that every image must agree."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Conv2d(3, 32, 3, stride=2, padding=1)
        self.second = torch.nn.Conv2d(32, WIDTH, 3, stride=2, padding=1)

    def forward(self, pixels):
        return torch.tanh(self.second(torch.nn.functional.gelu(self.first(pixels)))).mean((2, 3))


def network():
    torch.manual_seed(0)
    return Curved().requires_grad_(False).eval()


def export(folder, *, gradient=True, **options):
    info = BackboneInfo(name="curved", image_size=SIDE, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3), features=WIDTH)
    options = ExportOptions(gradient=gradient, **options)
    curved = network()
    if options.weights == "float16":
        round_to_half(curved)
    graphs = export_backbone(BackboneNetwork(curved, info), folder, options)
    files = {path.relative_to(folder).as_posix(): file_entry(path) for path in folder.rglob("*") if path.is_file()}
    manifest = PackManifest(name="curved", backbone=info, graphs=graphs, files=files)
    write_manifest(folder, manifest)
    return Pack.open(folder)


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    return export(tmp_path_factory.mktemp("curved"))


def normalized(images):
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in ((0.4, 0.5, 0.6), (0.2, 0.25, 0.3)))
    return (images - mean) / std


IMAGES = np.random.default_rng(0).random((5, 3, SIDE, SIDE), dtype=np.float32)


def test_the_vjp_is_autograds_through_the_normalization(pack):
    """On pixels in [0, 1], five images in buckets of two."""
    cotangent = np.random.default_rng(1).standard_normal((5, WIDTH), dtype=np.float32)
    images = torch.from_numpy(IMAGES).requires_grad_()
    features = network()(normalized(images))
    (expected,) = torch.autograd.grad(features, images, torch.from_numpy(cotangent))
    with open_gradient(pack, OnnxRuntime(), bucket=2) as backbone:
        found = backbone.vjp(IMAGES, cotangent)
    assert relative_error(found[0], features.detach().numpy()) < 1e-4
    assert relative_error(found[1], expected.numpy()) < 1e-4


def test_one_call_with_the_loss_inside_is_features_first_and_then_the_product(pack):
    """The set of five fits one call of eight, whose padding must count for nothing."""
    target = flow(np.random.default_rng(2).standard_normal((CLASSES, WIDTH)), CLASSES - 1)
    membership = np.eye(CLASSES, dtype=np.float32)[[0, 0, 1, 1, 2]] * np.array([[0.5, 0.5, 1]], np.float32)
    with open_gradient(pack, OnnxRuntime(), bucket=8) as backbone:
        joint = backbone.flow_gradient(IMAGES, target.astype(np.float32), membership, divisor=CLASSES - 1)
    with open_gradient(pack, OnnxRuntime(), bucket=2) as backbone:
        loss, slope = flow_loss(backbone.features(IMAGES), membership, target, CLASSES - 1)
        _, gradient = backbone.vjp(IMAGES, slope.astype(np.float32))
    assert joint[0] == pytest.approx(loss, abs=1e-5)
    assert relative_error(joint[1], gradient) < 1e-4


def test_the_features_of_all_three_graphs_are_the_same_bits(pack):
    feeds = {"pixels": IMAGES, "cotangent": np.zeros((5, WIDTH), np.float32)}
    found = []
    for role in ("backbone", "gradient"):
        session = OnnxRuntime().compile(pack.graph(role))
        found.append(session.infer({name: feeds[name] for name in (t.name for t in pack.graph(role).spec.inputs)}))
        session.close()
    np.testing.assert_array_equal(found[0]["features"], found[1]["features"])


def test_the_weights_are_stored_once(pack):
    external = {entry.external for entry in pack.manifest.graphs.values()}
    assert external == {("backbone/model.onnx.data",)}
    weights = sum(weight.numel() * 4 for weight in network().parameters() if weight.numel() * 4 > 256)
    assert pack.manifest.files["backbone/model.onnx.data"].nbytes == pytest.approx(weights, rel=0.05)
    assert all(pack.manifest.files[entry.file].nbytes < weights for entry in pack.manifest.graphs.values())


def test_weights_stored_as_float16_have_the_gradient_of_the_rounded_network(tmp_path):
    assert export(tmp_path, weights="float16").manifest.graphs["gradient"].parity < 1e-5


def test_without_the_option_nothing_is_added(tmp_path):
    assert list(export(tmp_path, gradient=False).manifest.graphs) == ["backbone"]


@pytest.mark.parametrize("kind", [EfficientNetLite0, MobileNetV2])
def test_backbones_with_kinks_pass_their_own_check(tmp_path, redraw, kind):
    """The shipped layouts, drawn anew, at a small side; exporting raises if autograd disagrees."""
    info = BackboneInfo(name="small", image_size=64, mean=(0.5,) * 3, std=(0.5,) * 3, features=1280)
    drawn = redraw(kind()).requires_grad_(False)
    graphs = export_backbone(BackboneNetwork(drawn, info), tmp_path, ExportOptions(gradient=True))
    assert all(entry.parity < 1e-4 for entry in graphs.values())


def test_a_gradient_that_is_wrong_everywhere_is_refused():
    right = {"features": np.ones((8, 2)), "pixel_gradient": np.ones((8, 3, 2, 2))}
    wrong = {**right, "pixel_gradient": np.full((8, 3, 2, 2), 1.01)}
    with pytest.raises(ParityError, match="the gradient graph is not torch's gradient"):
        check_gradient("gradient", lambda feeds: wrong, lambda feeds: right, {})


def test_a_gradient_that_is_far_off_on_one_image_is_refused():
    right = {"features": np.ones((8, 2)), "pixel_gradient": np.ones((8, 3, 2, 2))}
    wrong = {**right, "pixel_gradient": np.ones((8, 3, 2, 2)) + (np.arange(8) == 3)[:, None, None, None]}
    with pytest.raises(ParityError, match="on the image where it is largest"):
        check_gradient("gradient", lambda feeds: wrong, lambda feeds: right, {})


def test_a_source_without_a_backbone_is_refused(tmp_path, make_codec):
    make_codec("tiny").save_pretrained(tmp_path / "vae")
    with pytest.raises(ExportError, match="gradient graphs are of a backbone"):
        export_pack([str(tmp_path / "vae")], tmp_path / "pack", options=ExportOptions(gradient=True))
    assert not (tmp_path / "pack").exists()
