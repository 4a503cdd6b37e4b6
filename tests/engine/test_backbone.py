"""The backbone of the shipped pack with its gradient, and what is refused."""

import numpy as np
import pytest

from limbeck.backbone import GradientBackbone, gradient_graphs, open_backbone, open_gradient
from limbeck.backends.null import Null
from limbeck.backends.onnxruntime import OnnxRuntime
from limbeck.errors import EngineError, PackError
from limbeck.pack import Pack

IMAGES = np.random.default_rng(0).random((2, 3, 224, 224), dtype=np.float32)


@pytest.fixture(scope="module")
def backbone():
    with open_gradient(Pack.open("mini"), OnnxRuntime(threads=1), bucket=2) as opened:
        yield opened


def test_the_gradient_is_the_slope_of_the_features(backbone):
    """Against differences, in a random direction; the network has kinks, so only nearly."""
    rng = np.random.default_rng(1)
    cotangent = rng.standard_normal((2, 1280), dtype=np.float32)
    direction = rng.standard_normal(IMAGES.shape, dtype=np.float32)
    _, gradient = backbone.vjp(IMAGES, cotangent)
    ahead, behind = (backbone.features(IMAGES + np.float32(step) * direction) for step in (1e-4, -1e-4))
    slopes = ((ahead - behind).astype(np.float64) * cotangent).sum(axis=1) / 2e-4
    np.testing.assert_allclose((gradient.astype(np.float64) * direction).sum(axis=(1, 2, 3)), slopes, rtol=0.05)


def test_the_vjp_has_the_features_of_the_backbone(backbone):
    with open_backbone(Pack.open("mini"), OnnxRuntime(threads=1), bucket=2) as plain:
        expected = plain.features(IMAGES)
    found, _ = backbone.vjp(IMAGES, np.zeros((2, 1280), np.float32))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_more_images_than_one_call_has_room_for_are_refused(backbone):
    with pytest.raises(EngineError, match="one call has room for 2 images, not for 3"):
        backbone.flow_gradient(
            np.zeros((3, 3, 224, 224), np.float32),
            np.ones((3, 1280), np.float32),
            np.eye(3, dtype=np.float32),
            divisor=2,
        )


def test_a_backend_that_gets_gradients_wrong_is_refused():
    class Wrong(Null):
        gradients = False

    with (
        pytest.raises(EngineError, match="compute wrong gradients without a word; run this method on onnxruntime"),
        open_gradient(Pack.open("mini"), Wrong()),
    ):
        pass


@pytest.mark.parametrize("missing", ["gradient", "flow_gradient"])
def test_a_pack_without_the_gradient_is_refused_with_what_would_make_one(missing):
    pack = Pack.open("mini")
    graphs = {role: entry for role, entry in pack.manifest.graphs.items() if role != missing}
    lacking = Pack(pack.folder, pack.manifest.model_copy(update={"graphs": graphs}))
    with pytest.raises(PackError, match=r"has no gradient of a backbone.*\nexport one: limbeck export .* --gradient"):
        gradient_graphs(lacking)


@pytest.mark.parametrize("role", ["gradient", "flow_gradient"])
def test_a_gradient_graph_of_another_backbone_is_refused(role):
    pack = Pack.open("mini")
    entry = pack.manifest.graphs[role]
    other = entry.model_copy(update={"inputs": entry.inputs[:-1]})
    changed = pack.manifest.model_copy(update={"graphs": {**pack.manifest.graphs, role: other}})
    with pytest.raises(PackError, match=f"contradicts itself: its {role} has the inputs"):
        gradient_graphs(Pack(pack.folder, changed))


def test_the_flow_engine_is_not_loaded_beside_the_others(monkeypatch):
    """A set that fits one call runs on that engine alone."""
    loaded = []
    compile_graph = OnnxRuntime.compile

    def noted(self, graph):
        loaded.append(graph.path.stem)
        return compile_graph(self, graph)

    monkeypatch.setattr(OnnxRuntime, "compile", noted)
    with open_gradient(Pack.open("mini"), OnnxRuntime(threads=1), bucket=2) as opened:
        assert isinstance(opened, GradientBackbone)
        assert loaded == []
        opened.flow_gradient(IMAGES, np.eye(2, 1280, dtype=np.float32), np.eye(2, dtype=np.float32), divisor=1)
        assert loaded == ["flow_gradient"]
