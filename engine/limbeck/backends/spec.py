"""Whether a graph's description is that of the file: a pack that describes another graph is refused when it is
compiled, not when an image looks wrong."""

from __future__ import annotations

from limbeck.backends.base import Graph, GraphSpec, TensorSpec
from limbeck.errors import EngineError


def check_spec(graph: Graph, found: GraphSpec) -> None:
    """Compare `graph.spec` with what its file says of itself.

    Names, dtypes and ranks must be equal, and so must every size that the file fixes. A size that the file leaves
    free may be fixed by the description, or have another name in it.

    Raises:
        EngineError: They differ; both are shown.
    """
    for kind, described, real in (
        ("inputs", graph.spec.inputs, found.inputs),
        ("outputs", graph.spec.outputs, found.outputs),
    ):
        if not _agree(described, real):
            raise EngineError(
                f"{graph.path} has {kind} {_shown(real)}, but it is described as {_shown(described)}; "
                "export the graph again, or describe it as it is"
            )


def _agree(described: tuple[TensorSpec, ...], real: tuple[TensorSpec, ...]) -> bool:
    by_name = {tensor.name: tensor for tensor in real}
    return by_name.keys() == {tensor.name for tensor in described} and all(
        tensor.dtype == by_name[tensor.name].dtype and _fits(tensor.shape, by_name[tensor.name].shape)
        for tensor in described
    )


def _fits(described: tuple[int | str, ...], real: tuple[int | str, ...]) -> bool:
    return len(described) == len(real) and all(
        isinstance(size, str) or size == said for said, size in zip(described, real, strict=True)
    )


def _shown(tensors: tuple[TensorSpec, ...]) -> str:
    return "; ".join(str(tensor) for tensor in tensors) or "none"
