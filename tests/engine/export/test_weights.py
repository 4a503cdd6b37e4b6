import pytest

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.torch")

from limbeck.errors import ExportError  # noqa: E402
from limbeck.export.weights import load_weights, round_to_half  # noqa: E402

pytestmark = pytest.mark.torch


def test_large_weights_become_values_of_float16():
    network = torch.nn.Linear(64, 64)
    round_to_half(network)
    assert torch.equal(network.weight, network.weight.half().float())


def test_small_tensors_stay_as_they_are():
    network = torch.nn.Linear(64, 64)
    bias = network.bias.clone()
    round_to_half(network)
    assert torch.equal(network.bias, bias)


def test_a_tensor_beyond_the_range_of_float16_stays_as_it_is():
    network = torch.nn.Linear(64, 64)
    with torch.no_grad():
        network.weight[0, 0] = 1e6
    kept = network.weight.clone()
    round_to_half(network)
    assert torch.equal(network.weight, kept)


def test_weights_of_another_network_are_refused(tmp_path):
    safetensors.save_file(torch.nn.Linear(2, 3).state_dict(), tmp_path / "other.safetensors")
    with pytest.raises(ExportError, match="does not hold the weights of Linear"):
        load_weights(torch.nn.Linear(3, 3), tmp_path / "other.safetensors")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ExportError, match=r"cannot read the weights of Linear from .*missing\.safetensors"):
        load_weights(torch.nn.Linear(2, 2), tmp_path / "missing.safetensors")


def test_a_file_that_is_not_safetensors_is_refused(tmp_path):
    (tmp_path / "text.safetensors").write_text("not weights")
    with pytest.raises(ExportError, match="cannot read the weights of Linear"):
        load_weights(torch.nn.Linear(2, 2), tmp_path / "text.safetensors")
