"""The gradient graph of a graph, by reverse-mode differentiation of its own operators.

    backbone        pixels                                  to  features
    gradient        pixels, cotangent                       to  features, pixel_gradient
    flow_gradient   pixels, flow, membership, divisor       to  loss, features, pixel_gradient

Both are the backbone's graph with nodes behind it, so they have its weights and its features. Tracing torch's backward
pass gives the same arithmetic, but takes minutes a network, and stores weights anew.
"""

from __future__ import annotations

import onnx_ir as ir

from limbeck.backends.base import GraphSpec, TensorSpec
from limbeck.errors import ExportError
from limbeck.export.gradient_rules import RULES
from limbeck.export.gradient_tape import GradientTape, Rule, known_shapes

_UNDIFFERENTIATED = "Shape"
"""Operators whose output does not change when the pixels do."""


def gradient_graph(model: ir.Model) -> GraphSpec:
    """Make a backbone's graph that of its vector-Jacobian product, in place.

    Returns:
        What it takes and gives: `cotangent`, shape (batch, features), weighs the features, and `pixel_gradient` is the
        gradient of their weighted sum with respect to the pixels.

    Raises:
        ExportError: It has an operator whose gradient is not known.
    """
    (pixels,), (features,) = model.graph.inputs, model.graph.outputs
    shapes = known_shapes(model)
    tape = GradientTape(model.graph, shapes)
    cotangent = ir.Value(name="cotangent", shape=features.shape, type=features.type)
    model.graph.inputs.append(cotangent)
    model.graph.outputs.append(_backward(tape, model.graph, pixels, features, cotangent))
    tape.finish()
    return _spec(model.graph)


def flow_gradient_graph(model: ir.Model) -> GraphSpec:
    """Make a backbone's graph that of statistical flow matching's loss and its gradient, in place.

    With M = membership' z the means of the classes' features, S their sum and F = (S - M) / divisor - M their flows,
    the loss is 1 - cos(F, flow), one cosine over all classes (SFM, section 3; `limbeck_kernels.flow`).

    Returns:
        What it takes and gives: `flow` is the real one, (classes, features); `membership`, (batch, classes), has one
        over the number of images of its class for an image of it, and rows of zeros for padding; `divisor` is (1,);
        `loss` is (1,).

    Raises:
        ExportError: It has an operator whose gradient is not known.
    """
    graph = model.graph
    (pixels,), (features,) = graph.inputs, graph.outputs
    tape = GradientTape(graph, known_shapes(model))
    assert features.shape is not None, "outputs have shapes"
    (batch, width), number = features.shape, features.type
    flow = ir.Value(name="flow", shape=ir.Shape(["classes", width]), type=number)
    membership = ir.Value(name="membership", shape=ir.Shape([batch, "classes"]), type=number)
    divisor = ir.Value(name="divisor", shape=ir.Shape([1]), type=number)
    loss, cotangent = _flow_loss(tape, features, flow, membership, divisor)
    loss.name, loss.shape, loss.type = "loss", ir.Shape([1]), number
    graph.inputs.extend([flow, membership, divisor])
    graph.outputs.insert(0, loss)
    graph.outputs.append(_backward(tape, graph, pixels, features, cotangent))
    tape.finish()
    return _spec(graph)


def _backward(
    tape: GradientTape, graph: ir.Graph, pixels: ir.Value, features: ir.Value, cotangent: ir.Value
) -> ir.Value:
    """The gradient of (features * cotangent).sum() with respect to the pixels."""
    active = _depends_on(graph, pixels)
    gradients: dict[ir.Value, ir.Value] = {features: cotangent}
    for node in reversed(list(graph)):
        outputs = [gradients.get(value) for value in node.outputs]
        wanted = frozenset(place for place, value in enumerate(node.inputs) if value in active)
        if not wanted or all(gradient is None for gradient in outputs):
            continue
        for place, gradient in enumerate(_rule(node)(tape, node, outputs, wanted)):
            value = node.inputs[place]
            if gradient is not None and value is not None and place in wanted:
                before = gradients.get(value)
                gradients[value] = gradient if before is None else tape.op("Add", before, gradient)
    if pixels not in gradients:
        raise ExportError("the features do not depend on the pixels")
    result = tape.op("Identity", gradients[pixels])
    result.name, result.shape, result.type = "pixel_gradient", pixels.shape, pixels.type
    return result


def _depends_on(graph: ir.Graph, pixels: ir.Value) -> set[ir.Value]:
    active = {pixels}
    for node in graph:
        if node.op_type != _UNDIFFERENTIATED and any(value in active for value in node.inputs):
            active.update(node.outputs)
    return active


def _rule(node: ir.Node) -> Rule:
    found = RULES.get(node.op_type)
    if found is None:
        raise ExportError(
            f"the gradient of the operator {node.op_type} is not known to limbeck; it knows "
            f"{', '.join(sorted(RULES))}\nexport the backbone without its gradient"
        )
    return found


def _flow_loss(
    tape: GradientTape, features: ir.Value, flow: ir.Value, membership: ir.Value, divisor: ir.Value
) -> tuple[ir.Value, ir.Value]:
    """The loss, and its gradient with respect to the features."""
    rows, whole = tape.sizes(0), tape.sizes(0, 1)

    def others(value: ir.Value) -> ir.Value:
        """(sum - value) / divisor - value: the flow is this of the means, and so is its transpose of a gradient."""
        total = tape.op("ReduceSum", value, rows)
        return tape.op("Sub", tape.op("Div", tape.op("Sub", total, value), divisor), value)

    def dot(first: ir.Value, second: ir.Value) -> ir.Value:
        return tape.op("ReduceSum", tape.op("Mul", first, second), whole)

    means = tape.op("MatMul", tape.op("Transpose", membership, perm=[1, 0]), features)
    made = others(means)
    squares = dot(made, made)
    lengths = tape.op("Sqrt", tape.op("Mul", squares, dot(flow, flow)))
    cosine = tape.op("Div", dot(made, flow), lengths)
    loss = tape.op("Reshape", tape.op("Sub", tape.constant(1), cosine), tape.sizes(1))
    along = tape.op("Mul", made, tape.op("Div", cosine, squares))
    slope = tape.op("Sub", along, tape.op("Div", flow, lengths))
    return loss, tape.op("MatMul", membership, others(slope))


def _spec(graph: ir.Graph) -> GraphSpec:
    return GraphSpec(tuple(map(_tensor, graph.inputs)), tuple(map(_tensor, graph.outputs)))


def _tensor(value: ir.Value) -> TensorSpec:
    assert value.name is not None, "inputs and outputs have names"
    assert value.shape is not None, "inputs and outputs have shapes"
    sizes = tuple(size if isinstance(size, int) else str(size.value) for size in value.shape)
    return TensorSpec(value.name, "float32", sizes)
