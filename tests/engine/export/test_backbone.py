import sys
from importlib.util import find_spec

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
safetensors = pytest.importorskip("safetensors.torch")

from limbeck.errors import ExportError  # noqa: E402
from limbeck.export.backbone import load_backbone  # noqa: E402
from limbeck.export.efficientnet_lite import EfficientNetLite0, SameConv  # noqa: E402
from limbeck.export.mobilenet_v2 import MobileNetV2  # noqa: E402
from limbeck.export.pack import ExportOptions, export_pack  # noqa: E402

pytestmark = pytest.mark.torch

needs_timm = pytest.mark.skipif(find_spec("timm") is None, reason="timm is not installed")

NETWORKS = {"efficientnet-lite0": EfficientNetLite0, "mobilenetv2": MobileNetV2}
TIMM = {"efficientnet-lite0": "tf_efficientnet_lite0", "mobilenetv2": "mobilenetv2_100"}


def with_statistics(network):
    """Batch norms as after training: means and variances that are not 0 and 1."""
    for norm in network.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(norm.running_mean, -0.2, 0.2)
            torch.nn.init.uniform_(norm.running_var, 0.5, 2.0)
    return network.eval()


@pytest.fixture(params=list(NETWORKS))
def kind(request):
    return request.param


@pytest.fixture
def weights(tmp_path, kind):
    """A network with random weights, as it was built, and the file of its weights."""
    torch.manual_seed(0)
    network = with_statistics(NETWORKS[kind]())
    safetensors.save_file(network.state_dict(), tmp_path / "weights.safetensors")
    return network, tmp_path / "weights.safetensors"


def pixels(batch):
    return np.random.default_rng(5).standard_normal((batch, 3, 224, 224), dtype=np.float32)


def test_the_network_has_as_many_weights_as_published(kind):
    published = {"efficientnet-lite0": 4_652_008, "mobilenetv2": 3_504_872}[kind]
    classifier = 1280 * 1000 + 1000
    assert sum(weight.numel() for weight in NETWORKS[kind]().parameters()) == published - classifier


@needs_timm
def test_the_network_is_timms(kind, weights):
    network, _ = weights
    peer = load_backbone("timm", TIMM[kind], ExportOptions(random_init=True)).network
    peer.load_state_dict(dict(zip(peer.state_dict(), network.state_dict().values(), strict=True)))
    images = torch.tensor(pixels(2))
    with torch.no_grad():
        assert torch.allclose(network(images), peer(images), rtol=1e-4, atol=1e-5)


def test_folding_the_norms_changes_no_feature(kind, weights):
    network, path = weights
    images = torch.tensor(pixels(2))
    with torch.no_grad():
        assert torch.allclose(NETWORKS[kind].from_file(path)(images), network(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stored", ["float32", "float16"])
def test_the_exported_features_are_the_networks(tmp_path, kind, weights, stored, run):
    network, path = weights
    export_pack([f"{kind}:{path}"], tmp_path / "pack", options=ExportOptions(weights=stored))
    images = pixels(5)
    with torch.no_grad():
        expected = network(torch.tensor(images)).numpy()
    found = run(tmp_path / "pack", "backbone", pixels=images)["features"]
    tolerance = 1e-5 if stored == "float32" else 1e-2
    assert np.linalg.norm(found - expected) < tolerance * np.linalg.norm(expected)


def test_half_storage_holds_two_bytes_a_weight(tmp_path, kind, weights):
    network, path = weights
    export_pack([f"{kind}:{path}"], tmp_path / "pack", options=ExportOptions(weights="float16"))
    num_weights = sum(weight.numel() for weight in network.parameters())
    assert (tmp_path / "pack/backbone/model.onnx").stat().st_size < 2.1 * num_weights


def test_a_classifier_in_the_file_is_left_out(tmp_path):
    state = EfficientNetLite0().state_dict() | {"_fc.weight": torch.zeros(1000, 1280), "_fc.bias": torch.zeros(1000)}
    safetensors.save_file(state, tmp_path / "weights.safetensors")
    assert not hasattr(EfficientNetLite0.from_file(tmp_path / "weights.safetensors"), "_fc")


def test_an_odd_pixel_of_padding_goes_right_and_below():
    """As TensorFlow's SAME: with stride 2 on an even side, the first window has no padding."""
    conv = SameConv(1, 1, 3, stride=2)
    torch.nn.init.ones_(conv.weight)
    assert conv(torch.ones(1, 1, 4, 4)).flatten().tolist() == [9, 6, 6, 4]


def test_lite0s_own_normalization_is_recorded(tmp_path):
    safetensors.save_file(EfficientNetLite0().state_dict(), tmp_path / "weights.safetensors")
    info = load_backbone("efficientnet-lite0", str(tmp_path / "weights.safetensors"), ExportOptions()).info
    assert pytest.approx((1.0 - info.mean[0]) / info.std[0]) == (255 * 1.0 - 127) / 128


@needs_timm
def test_a_network_of_timm_becomes_a_backbone(tmp_path):
    options = ExportOptions(random_init=True)
    manifest = export_pack(["timm:mobilenetv3_small_050"], tmp_path / "pack", options=options)
    # its pooled features are wider than what timm calls num_features
    assert manifest.backbone.features == 1024


@needs_timm
def test_a_name_that_timm_does_not_know_is_refused():
    with pytest.raises(ExportError, match="timm cannot make 'resnet17'"):
        load_backbone("timm", "resnet17", ExportOptions(random_init=True))


def test_a_missing_timm_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ExportError, match=r"pip install 'limbeck\[timm\]'"):
        load_backbone("timm", "resnet18", ExportOptions())
