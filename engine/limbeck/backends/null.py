"""The backend that computes nothing: outputs of the right names, dtypes and shapes, filled with zeros.

It tests everything that is not arithmetic (wiring, batching, storing, resuming) without a runtime.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from limbeck.arrays import Array
from limbeck.backends.base import Backend, Graph, GraphSpec, Session
from limbeck.backends.key import fingerprint
from limbeck.errors import EngineError


class Null(Backend):
    """Zeros of the right shape.

    Args:
        sizes: Sizes of symbolic output dimensions that no input names (a decoder's height, say).
    """

    name = "null"

    def __init__(self, sizes: Mapping[str, int] | None = None) -> None:
        """Keep the sizes that inputs do not tell."""
        self.sizes = dict(sizes or {})

    def compile(self, graph: Graph) -> Session:
        """A session that needs only the graph's spec; the file is not opened."""
        return _NullSession(graph.spec, self.sizes)

    def fingerprint(self) -> str:
        """The sizes given."""
        return fingerprint(versions={}, settings=self.sizes, device="none")


class _NullSession(Session):
    def __init__(self, spec: GraphSpec, sizes: Mapping[str, int]) -> None:
        self._spec = spec
        self._sizes = sizes

    def infer(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        sizes = dict(self._sizes)
        for tensor in self._spec.inputs:
            for size, dimension in zip(feeds[tensor.name].shape, tensor.shape, strict=True):
                if isinstance(dimension, str):
                    sizes[dimension] = size
        outputs = {}
        for tensor in self._spec.outputs:
            unknown = [size for size in tensor.shape if isinstance(size, str) and size not in sizes]
            if unknown:
                raise EngineError(
                    f"output {tensor} has sizes that no input tells; give Null(sizes={{{unknown[0]!r}: …}})"
                )
            shape = [sizes[size] if isinstance(size, str) else size for size in tensor.shape]
            outputs[tensor.name] = np.zeros(shape, dtype=tensor.dtype)
        return outputs

    def close(self) -> None:
        pass
