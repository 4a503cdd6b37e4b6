"""What a backend is: it compiles a graph into a session, and a session runs feeds.

    Graph   --Backend.compile-->   Session   --wrapped by-->   limbeck.engine.Engine

A backend's author writes `compile` and, for its session, `infer` and `close`. Everything that is the same for
all of them (checking names, dtypes and shapes, refusing use after close) is done once, in `Engine`.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from limbeck.arrays import Array


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a graph.

    Args:
        name: As in the graph.
        dtype: A NumPy dtype name: "float32", "int64", …
        shape: A size, or the name of a symbolic dimension such as "batch". Equal names are equal sizes.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]

    def __str__(self) -> str:
        """`latents: float32 (batch, 16, 8, 8)`."""
        return f"{self.name}: {self.dtype} ({', '.join(str(size) for size in self.shape)})"


@dataclass(frozen=True)
class GraphSpec:
    """The inputs and outputs of a graph, in the graph's order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True)
class Graph:
    """An ONNX file with what is known of it without opening it.

    Args:
        path: The `.onnx` file; weights in external data lie beside it.
        spec: Its inputs and outputs.
        digest: SHA-256 over the file and its external data, hexadecimal.
    """

    path: Path
    spec: GraphSpec
    digest: str


class Session(ABC):
    """One live engine with its buffers, made by `Backend.compile`."""

    @abstractmethod
    def infer(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run checked feeds, one array an input; returns one array an output, owned by the caller."""

    @abstractmethod
    def close(self) -> None:
        """Give back the memory. Called once."""


class Backend(ABC):
    """A runtime that compiles graphs. Its constructor arguments are its settings."""

    name: ClassVar[str]

    @abstractmethod
    def compile(self, graph: Graph) -> Session:
        """Make a session of `graph`.

        Raises:
            BackendUnavailableError: The runtime's package or provider is missing.
            EngineError: The runtime refuses the graph, with its reason.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """Everything about this backend that decides a result: runtime version, provider, settings."""


def engine_key(graph: Graph, backend: Backend) -> str:
    """The identity of an engine: 16 hexadecimal digits over the graph's digest and the backend's fingerprint."""
    text = f"{graph.digest}\n{backend.name}\n{backend.fingerprint()}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]
