"""OpenVINO on the CPU: the same ONNX files, and bfloat16, which ONNX Runtime's CPU does not have.

Measured in `docs/reference/backends.md`. Not for graphs that compute a gradient: OpenVINO 2026.4 compiled the gradient
of a small ViT without a word and returned a wrong one (relative error 1.4).
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from functools import cache
from types import ModuleType
from typing import Any, Literal

import numpy as np

from limbeck.arrays import Array
from limbeck.backends.base import Backend, Graph, GraphSpec, Session, TensorSpec
from limbeck.backends.key import cpu_device, fingerprint
from limbeck.backends.out_of_memory import runtime_error
from limbeck.backends.spec import check_spec
from limbeck.errors import BackendUnavailableError, ConfigError

_DTYPES = {"f32": "float32", "f16": "float16", "f64": "float64", "i64": "int64", "i32": "int32", "boolean": "bool"}


class OpenVino(Backend):
    """OpenVINO's CPU plugin.

    Args:
        precision: What float32 operators compute in: "float32", or "bfloat16" where the CPU has instructions for it
            (elsewhere OpenVINO computes in float32 after all). Inputs and outputs stay float32.
        threads: Threads for one run; None leaves the choice to OpenVINO.
    """

    name = "openvino"
    gradients = False

    def __init__(self, *, precision: Literal["float32", "bfloat16"] = "float32", threads: int | None = None) -> None:
        """Keep the settings; nothing is loaded before `compile`."""
        if precision not in ("float32", "bfloat16"):
            raise ConfigError(f"OpenVINO computes in 'float32' or 'bfloat16', got precision={precision!r}")
        self.precision = precision
        self.threads = threads

    def compile(self, graph: Graph) -> Session:
        """Read the graph and compile it for one run at a time.

        Raises:
            MemoryLimitError: It does not fit into the memory there is.
        """
        openvino = _import()
        what = f"OpenVINO {openvino.__version__} cannot load {graph.path}"
        try:
            # a core of its own: a shared one keeps what it compiled
            core = openvino.Core()
            model = core.read_model(str(graph.path))
        except Exception as error:  # OpenVINO raises RuntimeError for everything
            raise runtime_error(what, error) from error
        check_spec(graph, _spec(model))
        try:
            request = core.compile_model(model, "CPU", self._options()).create_infer_request()
        except Exception as error:
            raise runtime_error(what, error) from error
        return _OpenVinoSession(graph, request)

    def fingerprint(self) -> str:
        """Version, settings and the CPU's instruction sets."""
        _share_of_the_process()
        return fingerprint(
            versions={"openvino": _import().__version__},
            settings={"precision": self.precision, "threads": self.threads},
            device=cpu_device(),
        )

    def _options(self) -> dict[str, Any]:
        options: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[self.precision],
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": "1",
        }
        if self.threads is not None:
            options["INFERENCE_NUM_THREADS"] = self.threads
        return options


class _OpenVinoSession(Session):
    def __init__(self, graph: Graph, request: Any) -> None:
        self._graph = graph
        self._request = request

    def infer(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        try:
            # copied in and out: OpenVINO's own sharing of memory needs contiguous arrays and writes results anew
            results = self._request.infer(dict(feeds), share_inputs=False, share_outputs=False)
            return {tensor.name: np.array(results[tensor.name]) for tensor in self._graph.spec.outputs}
        except Exception as error:
            raise runtime_error(f"OpenVINO failed in {self._graph.path}", error) from error

    def close(self) -> None:
        self._request = None


def _import() -> ModuleType:
    try:
        return importlib.import_module("openvino")
    except ImportError as error:
        raise BackendUnavailableError(
            "the openvino backend needs the 'openvino' package: pip install 'limbeck[openvino]'"
        ) from error


@cache
def _share_of_the_process() -> object:
    """The engine of one operator, kept: what OpenVINO allocates once, and the threads that it would give another.

    Whoever measures what an engine costs asks for the fingerprint first. Without this every engine would be charged
    what the first pays: 33 MiB, a plan 14 % above what four engines of the mini pack took together.
    """
    openvino = _import()
    given = openvino.opset13.parameter([1], openvino.Type.f32)
    model = openvino.Model([openvino.opset13.relu(given)], [given], "one operator")
    return openvino.Core().compile_model(model, "CPU", {"INFERENCE_NUM_THREADS": 1}).create_infer_request()


def _spec(model: Any) -> GraphSpec:
    """OpenVINO's own view of the graph; a free size is "?"."""
    return GraphSpec(*(tuple(_tensor_spec(port) for port in ports) for ports in (model.inputs, model.outputs)))


def _tensor_spec(port: Any) -> TensorSpec:
    element = port.get_element_type().get_type_name()
    shape = tuple("?" if size.is_dynamic else size.get_length() for size in port.get_partial_shape())
    return TensorSpec(port.get_any_name(), _DTYPES.get(element, element), shape)
