from __future__ import annotations

import sys

import numpy as np
import pytest

from limbeck.backends.openvino import OpenVino
from limbeck.backends.reference import Reference
from limbeck.engine import compile
from limbeck.errors import BackendUnavailableError, ConfigError
from limbeck.pack import Pack
from limbeck.precision import FP32
from support.graphs import linear

pytest.importorskip("openvino")


def relative_error(value, exact):
    return np.linalg.norm(value - exact) / np.linalg.norm(exact)


def feeds_of(spec, rng, sizes):
    return {
        tensor.name: rng.standard_normal([sizes.get(size, size) for size in tensor.shape]).astype(np.float32)
        for tensor in spec.inputs
    }


@pytest.fixture
def pack():
    return Pack.open("mini")


@pytest.mark.torch
@pytest.mark.parametrize(
    ("role", "sizes"),
    [
        ("trunk", {"batch": 2}),
        ("encoder", {"batch": 1, "height": 32, "width": 48}),
        ("decoder", {"batch": 1, "latent_height": 4, "latent_width": 6}),
        ("backbone", {"batch": 1}),
    ],
)
def test_the_networks_of_a_pack_agree_with_the_reference(pack, rng, role, sizes):
    pytest.importorskip("torch")
    pytest.importorskip("onnx")
    graph = pack.graph(role)
    feeds = feeds_of(graph.spec, rng, sizes)
    with compile(graph, OpenVino()) as engine, compile(graph, Reference()) as reference:
        outputs, expected = engine.run(feeds), reference.run(feeds)
    assert max(relative_error(outputs[name], exact) for name, exact in expected.items()) <= FP32.tolerance


def test_bfloat16_is_near_float32_but_is_not_it(pack, rng):
    """Eight bits of mantissa round by up to 2^-9; no more than ten times that after four blocks."""
    graph = pack.graph("trunk")
    feeds = feeds_of(graph.spec, rng, {"batch": 2})
    with compile(graph, OpenVino(precision="bfloat16")) as rounded, compile(graph, OpenVino()) as exact:
        error = relative_error(rounded.run(feeds)["prediction"], exact.run(feeds)["prediction"])
    if error == 0:
        pytest.skip("this CPU has no bfloat16 instructions, so OpenVINO computes in float32")
    assert 2**-12 < error < 10 * 2**-9


def test_it_says_that_gradients_are_not_for_it():
    assert not OpenVino.gradients


@pytest.mark.parametrize("other", [{"precision": "bfloat16"}, {"threads": 2}], ids=str)
def test_a_setting_is_in_the_fingerprint(other):
    assert OpenVino(**other).fingerprint() != OpenVino().fingerprint()


def test_the_version_is_in_the_fingerprint():
    import openvino

    assert openvino.__version__ in OpenVino().fingerprint()


def test_an_unknown_precision_is_refused():
    with pytest.raises(ConfigError, match="'float32' or 'bfloat16', got precision='int8'"):
        OpenVino(precision="int8")


@pytest.mark.torch
def test_a_missing_package_is_named_with_its_extra(tmp_path, monkeypatch):
    pytest.importorskip("onnx")
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(BackendUnavailableError, match=r"'openvino' package: pip install 'limbeck\[openvino\]'"):
        compile(linear(tmp_path).graph, OpenVino())
