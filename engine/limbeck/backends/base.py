"""What a backend is: it compiles a graph into a session, and a session runs feeds.

    Graph   --Backend.compile-->   Session   --wrapped by-->   limbeck.engine.Engine

A backend's author writes `compile` and, for its session, `infer` and `close`. Everything that is the same for
all of them (checking names, dtypes and shapes, refusing use after close) is done once, in `Engine`.
"""

from __future__ import annotations

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
        digest: Of the content, hexadecimal: the canonical digest where the pack has one (the same for graphs that
            differ only in names), otherwise SHA-256 over the file and its external data.
        recipe: What made this graph of the exported one, as canonical JSON: precision, settings, seed, digest of the
            calibration. Empty for the exported graph itself.
        one_by_one: Samples must not share a call: the graph takes a range over all that it is given, so one sample
            would change what another gets. `Engine.run` then makes a call for each.
    """

    path: Path
    spec: GraphSpec
    digest: str
    recipe: str = ""
    one_by_one: bool = False


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
    gradients: ClassVar[bool] = True
    """Whether it may be given graphs that compute a gradient; one that gets them wrong without a word must not."""

    @abstractmethod
    def compile(self, graph: Graph) -> Session:
        """Make a session of `graph`.

        Raises:
            BackendUnavailableError: The runtime's package or provider is missing.
            EngineError: The runtime refuses the graph, with its reason.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """Everything about this backend that decides a result: exact versions, settings, device.

        Written by `limbeck.backends.key.fingerprint`.
        """


class AheadOfTimeBackend(Backend):
    """A backend whose compilation gives bytes that are worth keeping: seconds to make, much less to load."""

    @abstractmethod
    def build(self, graph: Graph) -> bytes:
        """Compile `graph` for the backend's target; no device is needed.

        Raises:
            BackendUnavailableError: The runtime's package is missing.
            EngineError: The runtime refuses the graph, with its reason.
        """

    @abstractmethod
    def load(self, graph: Graph, built: bytes) -> Session:
        """Make a session of what `build` returned for the same graph and settings.

        Raises:
            BackendUnavailableError: There is no device that it could run on.
            EngineError: The runtime refuses it, or it is of another graph.
        """

    @abstractmethod
    def find_device(self) -> None:
        """Return if there is a device to run on: to be asked before work that would end with `load`.

        Raises:
            BackendUnavailableError: There is none, or a package is missing.
        """

    def compile(self, graph: Graph) -> Session:
        """`build`, then `load`."""
        return self.load(graph, self.build(graph))
