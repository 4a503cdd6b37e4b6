from __future__ import annotations

import sys

import pytest

from limbeck.backends.key import EngineKey
from limbeck.backends.tensorrt import TensorRtRtx
from limbeck.build.ahead import build_ahead
from limbeck.build.options import BuildOptions
from limbeck.cache import Cache
from limbeck.errors import BackendUnavailableError, EngineError
from limbeck.pack import Pack

pytest.importorskip("tensorrt_rtx_bindings")
pytest.importorskip("onnx_ir")
pytestmark = pytest.mark.torch

RTX = TensorRtRtx(targets=("SM86",), profiles=({"batch": (1, 2, 4)},))


def build(out, cache, precision="fp32", backend=RTX):
    options = BuildOptions(precision=precision, roles=("conditioner",))
    return build_ahead(Pack.open("mini"), out, backend, options, cache=cache)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return Cache(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def built(tmp_path_factory, cache):
    """The pack with the conditioner's engines in every precision that could pay."""
    out = tmp_path_factory.mktemp("packs") / "ahead"
    build(out, cache, precision="auto")
    return Pack.open(out)


def test_the_engine_is_in_the_cache_where_the_device_will_look(built, cache):
    found = cache.get(EngineKey.of(built.graph("conditioner"), RTX).digest)
    assert found["engine.bin"].read_bytes().startswith(b"vtrt")


def test_every_precision_that_could_pay_has_its_engine(built):
    assert [trial.precision for trial in built.manifest.trials if trial.figures] == ["fp32", "fp16", "int8-static"]


def test_engines_are_noted_as_not_measured(built):
    assert all(trial.reason.startswith("not measured, which needs the device") for trial in built.manifest.trials)


def test_a_trial_has_no_figure_that_only_the_device_could_give(built):
    assert {name for trial in built.manifest.trials for name in trial.figures} == {"engine_nbytes", "build_seconds"}


def test_no_graph_is_replaced(built):
    assert built.manifest.graphs == Pack.open("mini").manifest.graphs


def test_what_is_in_the_cache_is_not_built_again(built, cache, tmp_path):
    (trial,) = build(tmp_path / "again", cache).trials
    assert "was in the cache" in trial.reason
    assert "build_seconds" not in trial.figures


def test_a_precision_that_no_engine_can_have_is_an_error(tmp_path):
    with pytest.raises(EngineError, match=r"no operator DynamicQuantizeLinear"):
        build(tmp_path / "int8", Cache(tmp_path / "cache"), precision="int8")


def test_without_a_device_targets_must_be_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", None)
    with pytest.raises(BackendUnavailableError):
        build(tmp_path / "here", Cache(tmp_path / "cache"), backend=TensorRtRtx())
