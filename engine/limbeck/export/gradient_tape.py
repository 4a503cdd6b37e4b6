"""What a derivative rule writes with: new nodes behind a graph's own, and what is known of the graph's values."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import onnx_ir as ir
from numpy.typing import ArrayLike
from onnx_ir.passes.common import ShapeInferencePass

from limbeck.errors import ExportError

Shape: TypeAlias = tuple[int | None, ...]
"""Sizes; None is one that depends on the batch."""


class GradientTape:
    """New nodes for a graph, which `finish` puts behind its own.

    Args:
        graph: To be extended.
        shapes: By name of a value, as `known_shapes` finds them.
    """

    def __init__(self, graph: ir.Graph, shapes: Mapping[str, Shape]) -> None:
        """Nothing is written yet."""
        self._graph = graph
        self._shapes = shapes
        self._nodes: list[ir.Node] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], ir.Value] = {}

    def op(self, kind: str, *inputs: ir.Value, **attributes: Any) -> ir.Value:
        """The output of a new node of the standard operator `kind`."""
        node = ir.node(kind, inputs, attributes=attributes, num_outputs=1)
        (output,) = node.outputs
        output.name = node.name = f"gradient_{len(self._nodes)}"
        self._nodes.append(node)
        return output

    def constant(self, value: ArrayLike, dtype: type[np.generic] = np.float32) -> ir.Value:
        """A constant; equal ones are stored once."""
        array = np.asarray(value, dtype)
        key = array.dtype.str, array.shape, array.tobytes()
        if key not in self._constants:
            name = f"gradient_constant_{len(self._constants)}"
            made = ir.Value(name=name, const_value=ir.tensor(array, name=name))
            self._graph.register_initializer(made)
            self._constants[key] = made
        return self._constants[key]

    def sizes(self, *values: int) -> ir.Value:
        """A constant of integers: axes, shapes, pads."""
        return self.constant(values, np.int64)

    def shape(self, value: ir.Value) -> Shape:
        """The shape of one of the graph's own values.

        Raises:
            ExportError: Shape inference could not tell.
        """
        assert value.name is not None, "every value of a loaded graph has a name"
        found = self._shapes.get(value.name)
        if found is None:
            raise ExportError(f"the gradient needs the shape of '{value.name}', which the graph does not tell")
        return found

    def size(self, value: ir.Value, axis: int) -> int:
        """A size that does not depend on the batch; raises `ExportError` for one that does."""
        size = self.shape(value)[axis]
        if size is None:
            raise ExportError(f"the gradient needs size {axis} of '{value.name}' fixed; only the batch may be free")
        return size

    def like(self, gradient: ir.Value, value: ir.Value) -> ir.Value:
        """`gradient` in the shape of `value`, which has as many elements."""
        return self.op("Reshape", gradient, self.op("Shape", value))

    def unbroadcast(self, gradient: ir.Value, node: ir.Node, value: ir.Value) -> ir.Value:
        """`gradient` of the node's output summed over the axes along which `value` was repeated."""
        whole, part = self.shape(node.outputs[0]), self.shape(value)
        lead = len(whole) - len(part)
        axes = [*range(lead), *(lead + i for i, size in enumerate(part) if size == 1 and whole[lead + i] != 1)]
        return self.like(self.op("ReduceSum", gradient, self.sizes(*axes)), value) if axes else gradient

    def padded(self, gradient: ir.Value, axis: int, before: int, after: int, *, rank: int) -> ir.Value:
        """`gradient` with zeros before and after along one axis."""
        if not (before or after):
            return gradient
        pads = [0] * (2 * rank)
        pads[axis], pads[rank + axis] = before, after
        return self.op("Pad", gradient, self.sizes(*pads))

    def finish(self) -> None:
        """Put the new nodes behind the graph's own, in the order in which they were written."""
        self._graph.extend(self._nodes)


def known_shapes(model: ir.Model) -> dict[str, Shape]:
    """What shape inference finds of the values of `model`, which is not changed."""
    copy = model.clone()
    for node in copy.graph:
        if node.domain:  # attention as one node, of which onnx knows nothing: its output is as its query
            node.outputs[0].replace_all_uses_with(source(node), replace_graph_outputs=True)
    inferred = ShapeInferencePass()(copy).model
    values: list[ir.Value] = [*inferred.graph.inputs, *inferred.graph.initializers.values()]
    values += [value for node in inferred.graph for value in node.outputs]
    return {
        value.name: tuple(size if isinstance(size, int) else None for size in value.shape)
        for value in values
        if value.name is not None and value.shape is not None
    }


def constant_of(value: ir.Value | None) -> Any:
    """The value of a constant input as an array.

    Raises:
        ExportError: The graph computes it.
    """
    found = None if value is None else ir.convenience.get_const_tensor(value)
    if found is None:
        named = "an input that is left out" if value is None else f"'{value.name}'"
        raise ExportError(f"the gradient needs {named} to be a constant; the graph computes it")
    return found.numpy()


def attribute(node: ir.Node, name: str, default: Any = None) -> Any:
    """The value of a node's attribute, or `default`."""
    found = node.attributes.get(name)
    return default if found is None else found.value


def refuse_more_inputs(node: ir.Node, known: Collection[int]) -> None:
    """Raise `ExportError` if the node has an input beside those at the places `known`."""
    beyond = [place for place, value in enumerate(node.inputs) if value is not None and place not in known]
    if beyond:
        raise ExportError(f"the gradient of {node.op_type} with an input at place {beyond[0]} is not known to limbeck")


def axis_of(node: ir.Node, rank: int, default: int = 0) -> int:
    """The node's axis, counted from the front."""
    return int(attribute(node, "axis", default)) % rank


def source(node: ir.Node, place: int = 0) -> ir.Value:
    """An input that the operator cannot do without."""
    value = node.inputs[place]
    assert value is not None, "the operator's standard requires this input"
    return value


def only(gradients: Gradients) -> ir.Value:
    """The gradient of an operator's one output."""
    (found,) = gradients
    assert found is not None, "a rule runs where there is a gradient"
    return found


Gradients: TypeAlias = Sequence[ir.Value | None]
"""One for each output of a node in, one for each input out; None where there is none."""

Rule: TypeAlias = Callable[[GradientTape, ir.Node, Gradients, frozenset[int]], Gradients]
"""(tape, node, gradient of each output, places of the inputs whose gradient is wanted) to gradient of each input."""
