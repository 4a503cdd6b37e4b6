"""The vector-Jacobian products of the operators that image backbones are made of, in the same standard operators.

A rule is given the node and the gradient of its outputs, and writes the gradient of the inputs that depend on the
pixels. Weights are constants: no rule computes their gradient. Where the forward pass kept what is needed (an
activation's output) it is used; a normalization's statistics and an attention's probabilities are computed again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import onnx_ir as ir

from limbeck.errors import ExportError
from limbeck.export.gradient_shapes import SHAPES
from limbeck.export.gradient_spatial import SPATIAL
from limbeck.export.gradient_tape import (
    Gradients,
    GradientTape,
    Rule,
    attribute,
    constant_of,
    only,
    refuse_more_inputs,
    source,
)

_Slope = Callable[[GradientTape, ir.Node], ir.Value]


def _elementwise(slope: _Slope) -> Rule:
    """The rule of y = f(x), whose derivative `slope` writes."""

    def rule(tape: GradientTape, node: ir.Node, gradients: Gradients, wanted: frozenset[int]) -> Gradients:
        return [tape.op("Mul", only(gradients), slope(tape, node))]

    return rule


def _relu(tape: GradientTape, node: ir.Node, gradients: Gradients, wanted: frozenset[int]) -> Gradients:
    inside = tape.op("Greater", node.outputs[0], tape.constant(0))
    return [tape.op("Where", inside, only(gradients), tape.constant(0))]


def _clip(tape: GradientTape, node: ir.Node, gradients: Gradients, wanted: frozenset[int]) -> Gradients:
    """Zero on the bounds too, as torch's hardtanh."""
    gradient = only(gradients)
    for place, beyond in ((1, "Greater"), (2, "Less")):
        if len(node.inputs) > place and (bound := node.inputs[place]) is not None:
            inside = tape.op(beyond, source(node), bound)
            gradient = tape.op("Where", inside, gradient, tape.constant(0))
    return [gradient]


def _sigmoid(tape: GradientTape, node: ir.Node) -> ir.Value:
    y = node.outputs[0]
    return tape.op("Mul", y, tape.op("Sub", tape.constant(1), y))


def _tanh(tape: GradientTape, node: ir.Node) -> ir.Value:
    y = node.outputs[0]
    return tape.op("Sub", tape.constant(1), tape.op("Mul", y, y))


def _gelu(tape: GradientTape, node: ir.Node) -> ir.Value:
    x = source(node)
    half, one = tape.constant(0.5), tape.constant(1)
    square = tape.op("Mul", x, x)
    if attribute(node, "approximate", "none") == "tanh":
        scale, cubic = math.sqrt(2 / math.pi), 0.044715
        inner = tape.op("Mul", x, tape.op("Add", tape.constant(scale), _scaled(tape, square, scale * cubic)))
        t = tape.op("Tanh", inner)
        rises = tape.op("Add", tape.constant(scale), _scaled(tape, square, 3 * scale * cubic))
        bend = tape.op("Mul", tape.op("Sub", one, tape.op("Mul", t, t)), tape.op("Mul", x, rises))
        return tape.op("Mul", half, tape.op("Add", tape.op("Add", one, t), bend))
    share = tape.op("Add", one, tape.op("Erf", _scaled(tape, x, math.sqrt(0.5))))
    density = _scaled(tape, tape.op("Exp", _scaled(tape, square, -0.5)), 1 / math.sqrt(2 * math.pi))
    return tape.op("Add", tape.op("Mul", half, share), tape.op("Mul", x, density))


def _scaled(tape: GradientTape, value: ir.Value, factor: float) -> ir.Value:
    return tape.op("Mul", value, tape.constant(factor))


def _neg(tape: GradientTape, node: ir.Node, gradients: Gradients, wanted: frozenset[int]) -> Gradients:
    return [tape.op("Neg", only(gradients))]


def _add(tape: GradientTape, node: ir.Node, gradients: Gradients, wanted: frozenset[int]) -> Gradients:
    gradient = only(gradients)
    return [tape.unbroadcast(gradient, node, source(node, place)) if place in wanted else None for place in (0, 1)]


def _sub(tape: GradientTape, node: ir.Node, gradients: Gradients, wanted: frozenset[int]) -> Gradients:
    first, second = _add(tape, node, gradients, wanted)
    return [first, None if second is None else tape.op("Neg", second)]


def _mul(tape: GradientTape, node: ir.Node, gradients: Gradients, wanted: frozenset[int]) -> Gradients:
    gradient = only(gradients)
    return [
        tape.unbroadcast(tape.op("Mul", gradient, source(node, 1 - place)), node, source(node, place))
        if place in wanted
        else None
        for place in (0, 1)
    ]


def _transposed(tape: GradientTape, matrix: ir.Value) -> ir.Value:
    rank = len(tape.shape(matrix))
    return tape.op("Transpose", matrix, perm=[*range(rank - 2), rank - 1, rank - 2])


def _matmul(tape: GradientTape, node: ir.Node, gradients: Gradients, wanted: frozenset[int]) -> Gradients:
    gradient, left, right = only(gradients), source(node), source(node, 1)
    if 1 in wanted and len(tape.shape(left)) != len(tape.shape(right)):
        raise ExportError("the gradient of a product of two activations of different ranks is not known to limbeck")
    return [
        tape.op("MatMul", gradient, _transposed(tape, right)) if 0 in wanted else None,
        tape.op("MatMul", _transposed(tape, left), gradient) if 1 in wanted else None,
    ]


def _gemm(tape: GradientTape, node: ir.Node, gradients: Gradients, wanted: frozenset[int]) -> Gradients:
    if wanted != {0} or attribute(node, "transA", 0):
        raise ExportError("the gradient of Gemm is known to limbeck for an activation times constants")
    transposed = 0 if attribute(node, "transB", 0) else 1
    return [tape.op("Gemm", only(gradients), source(node, 1), transB=transposed, alpha=attribute(node, "alpha", 1.0))]


def _softmax(tape: GradientTape, node: ir.Node, gradients: Gradients, wanted: frozenset[int]) -> Gradients:
    return [_through_softmax(tape, node.outputs[0], only(gradients), int(attribute(node, "axis", -1)))]


def _through_softmax(tape: GradientTape, y: ir.Value, gradient: ir.Value, axis: int) -> ir.Value:
    """y (g - sum(y g))."""
    inner = tape.op("ReduceSum", tape.op("Mul", y, gradient), tape.sizes(axis))
    return tape.op("Mul", y, tape.op("Sub", gradient, inner))


def _layer_norm(tape: GradientTape, node: ir.Node, gradients: Gradients, wanted: frozenset[int]) -> Gradients:
    """With x' = (x - mean) / s and g' the gradient at x': (g' - mean(g') - x' mean(g' x')) / s."""
    x = source(node)
    rank = len(tape.shape(x))
    axes = tape.sizes(*range(int(attribute(node, "axis", -1)) % rank, rank))

    def mean(value: ir.Value) -> ir.Value:
        return tape.op("ReduceMean", value, axes)

    centered = tape.op("Sub", x, mean(x))
    variance = mean(tape.op("Mul", centered, centered))
    spread = tape.op("Sqrt", tape.op("Add", variance, tape.constant(attribute(node, "epsilon", 1e-5))))
    normal = tape.op("Div", centered, spread)
    g = tape.op("Mul", only(gradients), source(node, 1))
    along = tape.op("Mul", normal, mean(tape.op("Mul", g, normal)))
    return [tape.op("Div", tape.op("Sub", tape.op("Sub", g, mean(g)), along), spread)]


def _attention(tape: GradientTape, node: ir.Node, gradients: Gradients, wanted: frozenset[int]) -> Gradients:
    """softmax(Q K' scale) V of `com.microsoft.MultiHeadAttention`; heads lie side by side in the last axis."""
    refuse_more_inputs(node, known=(0, 1, 2))
    heads = int(attribute(node, "num_heads"))

    def split(value: ir.Value) -> ir.Value:
        return tape.op("Transpose", tape.op("Reshape", value, tape.sizes(0, 0, heads, -1)), perm=[0, 2, 1, 3])

    def joined(value: ir.Value) -> ir.Value:
        return tape.op("Reshape", tape.op("Transpose", value, perm=[0, 2, 1, 3]), tape.sizes(0, 0, -1))

    def turned(value: ir.Value) -> ir.Value:
        return tape.op("Transpose", value, perm=[0, 1, 3, 2])

    width = tape.size(source(node), -1) // heads
    scale = tape.constant(attribute(node, "scale") or width**-0.5)
    query, key, value = (split(source(node, place)) for place in range(3))
    gradient = split(only(gradients))
    scaled = tape.op("Mul", query, scale)
    weights = tape.op("Softmax", tape.op("MatMul", scaled, turned(key)), axis=-1)
    scores = _through_softmax(tape, weights, tape.op("MatMul", gradient, turned(value)), -1)
    return [
        joined(tape.op("Mul", tape.op("MatMul", scores, key), scale)),
        joined(tape.op("MatMul", turned(scores), scaled)),
        joined(tape.op("MatMul", turned(weights), gradient)),
    ]


def _mean(tape: GradientTape, node: ir.Node, gradients: Gradients, wanted: frozenset[int]) -> Gradients:
    x, gradient = source(node), only(gradients)
    axes = [int(axis) for axis in constant_of(node.inputs[1])]
    count = math.prod(tape.size(x, axis) for axis in axes)
    if not attribute(node, "keepdims", 1):
        gradient = tape.op("Unsqueeze", gradient, tape.sizes(*axes))
    return [tape.op("Expand", _scaled(tape, gradient, 1 / count), tape.op("Shape", x))]


def _same(tape: GradientTape, node: ir.Node, gradients: Gradients, wanted: frozenset[int]) -> Gradients:
    return gradients


RULES: Mapping[str, Rule] = {
    "Add": _add,
    "Clip": _clip,
    "Gelu": _elementwise(_gelu),
    "Gemm": _gemm,
    "Identity": _same,
    "LayerNormalization": _layer_norm,
    "MatMul": _matmul,
    "Mul": _mul,
    "MultiHeadAttention": _attention,
    "Neg": _neg,
    "ReduceMean": _mean,
    "Relu": _relu,
    "Sigmoid": _elementwise(_sigmoid),
    "Softmax": _softmax,
    "Sub": _sub,
    "Tanh": _elementwise(_tanh),
    **SHAPES,
    **SPATIAL,
}
"""By operator."""
