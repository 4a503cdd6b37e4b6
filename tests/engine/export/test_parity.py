import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from limbeck.backends.base import GraphSpec, TensorSpec  # noqa: E402
from limbeck.errors import ExportError, ParityError  # noqa: E402
from limbeck.export.graph import Tracing, write_graph  # noqa: E402
from limbeck.export.options import ExportOptions  # noqa: E402
from limbeck.export.parity import check_parity, computation, opened, random_feeds  # noqa: E402

pytestmark = pytest.mark.torch

SPEC = GraphSpec((TensorSpec("x", "float32", ("batch", 8)),), (TensorSpec("y", "float32", ("batch", 4)),))
CASES = [random_feeds(SPEC.inputs, {"batch": batch}) for batch in (1, 3)]


@pytest.fixture
def network():
    torch.manual_seed(0)
    return torch.nn.Linear(8, 4)


@pytest.fixture
def graph(tmp_path, network):
    """The network's graph, open in ONNX Runtime."""
    tracing = Tracing(network=network, spec=SPEC, sizes={"batch": 2})
    with opened(write_graph(tracing, tmp_path, "linear", ExportOptions()), tmp_path) as run:
        yield run


def check(graph, network):
    return check_parity("linear", graph, computation(network, ["y"]), CASES)


def scaled(network, factor):
    with torch.no_grad():
        for weight in network.parameters():
            weight.mul_(factor)
    return network


def test_a_true_graph_passes_with_its_error(graph, network):
    assert check(graph, network) < 1e-6


def test_a_graph_of_slightly_other_weights_is_refused_with_its_error(graph, network):
    with pytest.raises(ParityError, match="exported linear is not the network") as caught:
        check(graph, scaled(network, 1.001))
    assert caught.value.error == pytest.approx(0.001 / 1.001, rel=1e-3)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_result_that_is_no_number_never_passes(value):
    same = {"y": np.full((1, 4), value, np.float32)}
    with pytest.raises(ParityError):
        check_parity("linear", lambda _: same, lambda _: same, CASES)


def test_a_result_of_another_shape_never_passes():
    with pytest.raises(ParityError):
        check_parity("x", lambda _: {"y": np.ones((1, 4))}, lambda _: {"y": np.ones((3, 4))}, CASES)


def test_one_wrong_output_among_right_ones_is_refused():
    right, wrong = np.ones(4), np.zeros(4)
    with pytest.raises(ParityError):
        check_parity("x", lambda _: {"a": right, "b": wrong}, lambda _: {"a": right, "b": right}, CASES)


def test_one_wrong_batch_among_right_ones_is_refused(graph, network):
    def right_at_one(feeds):
        return {"y": graph(feeds)["y"] * (1 if len(feeds["x"]) == 1 else 2)}

    with pytest.raises(ParityError):
        check(right_at_one, network)


def test_an_output_of_another_size_than_said_is_refused(tmp_path):
    tracing = Tracing(network=torch.nn.Linear(8, 5), spec=SPEC, sizes={"batch": 2})
    with pytest.raises(ExportError, match=r"was to have y: float32 \(batch, 4\)"):
        write_graph(tracing, tmp_path, "linear", ExportOptions())
