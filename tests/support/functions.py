"""Engines that run a Python function: closed forms where a network would stand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from limbeck.arrays import Array
from limbeck.backends.base import Backend, Graph, GraphSpec, Session, TensorSpec
from limbeck.engine import Engine, compile


class Function(Backend):
    """Runs `function` for any graph, and keeps what it was fed."""

    name = "function"

    def __init__(self, function: Callable[..., dict[str, Array]]) -> None:
        self.function = function
        self.calls: list[dict[str, Array]] = []
        self.num_closed = 0

    def compile(self, graph: Graph) -> Session:
        return _FunctionSession(self)

    def fingerprint(self) -> str:
        return repr(self.function)


class _FunctionSession(Session):
    def __init__(self, backend: Function) -> None:
        self._backend = backend

    def infer(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        self._backend.calls.append(dict(feeds))
        return self._backend.function(**feeds)

    def close(self) -> None:
        self._backend.num_closed += 1


def function_engine(
    inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], function: Callable[..., dict[str, Array]]
) -> tuple[Engine, list[dict[str, Array]]]:
    """An engine of `function`, and the list to which the feeds of every call are added."""
    backend = Function(function)
    graph = Graph(Path("function.onnx"), GraphSpec(tuple(inputs), tuple(outputs)), digest="0" * 64)
    return compile(graph, backend), backend.calls
