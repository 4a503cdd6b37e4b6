"""Write the graphs that `limbeck doctor` probes a machine with; they ship in the package.

    python tools/probe_graphs.py

Each is a few hundred bytes: weights follow from a formula that runtimes fold into a constant when they load the graph.
What each graph computes is in `limbeck.probes.catalog`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, TensorProto
from onnx.helper import make_graph, make_model, make_node, make_opsetid, make_tensor_value_info
from onnx.numpy_helper import from_array

FOLDER = Path(__file__).parents[1] / "engine/limbeck/probes/graphs"
MATMUL, CONV = (1024, 1024), (64, 64, 3, 3)
HEADS, WIDTH = 8, 512
INT8_STEP, ACTIVATION_STEP = 1 / 125, 1 / 32
_TYPES = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}


def graphs() -> Iterator[tuple[str, bytes]]:
    """Name and content of every file."""
    for precision in ("fp32", "fp16", "bf16", "int8", "int8-static"):
        for operator in ("matmul", "conv"):
            yield f"{operator}.{precision}.onnx", _linear(operator, precision)
    for precision in ("fp32", "fp16", "bf16"):
        yield f"attention.{precision}.onnx", _attention(precision)
    yield "overflow.fp16.onnx", _overflow()


def _linear(operator: str, precision: str) -> bytes:
    conv = operator == "conv"
    shape = CONV if conv else MATMUL
    weight, constants = _integers(shape)
    nodes = list(weight)
    constants["int8_step"] = np.float32(INT8_STEP)
    attributes = {"pads": [1, 1, 1, 1], "kernel_shape": [3, 3]} if conv else {}
    kind = "Conv" if conv else "MatMul"
    if precision == "int8":
        nodes += [
            make_node("Cast", ["integers"], ["weight"], to=TensorProto.INT8),
            make_node("DynamicQuantizeLinear", ["x"], ["codes", "step", "zero"]),
            make_node(f"{kind}Integer", ["codes", "weight", "zero"], ["sums"], **attributes),
            make_node("Cast", ["sums"], ["products"], to=TensorProto.FLOAT),
            make_node("Mul", ["step", "int8_step"], ["scale"]),
            make_node("Mul", ["products", "scale"], ["y"]),
        ]
    elif precision == "int8-static":
        constants |= {"step": np.float32(ACTIVATION_STEP), "none": np.int8(0)}
        nodes += [
            make_node("Cast", ["integers"], ["codes_w"], to=TensorProto.INT8),
            make_node("DequantizeLinear", ["codes_w", "int8_step", "none"], ["weight"]),
            make_node("QuantizeLinear", ["x", "step", "none"], ["codes"]),
            make_node("DequantizeLinear", ["codes", "step", "none"], ["rounded"]),
            make_node(kind, ["rounded", "weight"], ["y"], **attributes),
        ]
    else:
        to = _TYPES.get(precision, TensorProto.FLOAT)
        nodes += [
            make_node("Cast", ["integers"], ["floats"], to=TensorProto.FLOAT),
            make_node("Mul", ["floats", "int8_step"], ["exact"]),
            make_node("Cast", ["exact"], ["weight"], to=to),
            make_node("Cast", ["x"], ["given"], to=to),
            make_node(kind, ["given", "weight"], ["found"], **attributes),
            make_node("Cast", ["found"], ["y"], to=TensorProto.FLOAT),
        ]
    size: Sequence[int | str] = ("batch", CONV[1], 32, 32) if conv else ("batch", MATMUL[0])
    out: Sequence[int | str] = ("batch", CONV[0], 32, 32) if conv else ("batch", MATMUL[1])
    return _model(nodes, {"x": size}, {"y": out}, constants)


def _integers(shape: tuple[int, ...]) -> tuple[list[NodeProto], dict[str, np.ndarray]]:
    """Nodes that make `integers`: 37 i mod 251 - 125 for i = 0, 1, …, in this shape."""
    constants = {
        "first": np.int32(0),
        "count": np.int32(np.prod(shape)),
        "one": np.int32(1),
        "stride": np.int32(37),
        "modulus": np.int32(251),
        "middle": np.int32(125),
        "shape": np.array(shape, np.int64),
    }
    nodes = [
        make_node("Range", ["first", "count", "one"], ["places"]),
        make_node("Mul", ["places", "stride"], ["strides"]),
        make_node("Div", ["strides", "modulus"], ["wholes"]),  # not Mod, which runtimes know less often
        make_node("Mul", ["wholes", "modulus"], ["multiples"]),
        make_node("Sub", ["strides", "multiples"], ["residues"]),
        make_node("Sub", ["residues", "middle"], ["flat"]),
        make_node("Reshape", ["flat", "shape"], ["integers"]),
    ]
    return nodes, constants


def _attention(precision: str) -> bytes:
    to = _TYPES.get(precision, TensorProto.FLOAT)
    names = ("query", "key", "value")
    nodes = [make_node("Cast", [name], [f"given_{name}"], to=to) for name in names]
    nodes += [
        make_node(
            "MultiHeadAttention",
            [f"given_{name}" for name in names],
            ["found"],
            domain="com.microsoft",
            num_heads=HEADS,
        ),
        make_node("Cast", ["found"], ["y"], to=TensorProto.FLOAT),
    ]
    size = ("batch", 64, WIDTH)
    return _model(nodes, dict.fromkeys(names, size), {"y": size}, {})


def _overflow() -> bytes:
    nodes = [
        make_node("Cast", ["x"], ["given"], to=TensorProto.FLOAT16),
        make_node("Mul", ["given", "given"], ["square"]),
        make_node("MatMul", ["given", "ones"], ["sum"]),
        make_node("Cast", ["square"], ["squares"], to=TensorProto.FLOAT),
        make_node("Cast", ["sum"], ["sums"], to=TensorProto.FLOAT),
    ]
    outputs = {"squares": ("batch", 4), "sums": ("batch", 1)}
    return _model(nodes, {"x": ("batch", 4)}, outputs, {"ones": np.ones((4, 1), np.float16)})


def _model(
    nodes: Sequence[NodeProto],
    inputs: dict[str, Sequence[int | str]],
    outputs: dict[str, Sequence[int | str]],
    constants: dict[str, np.ndarray],
) -> bytes:
    values = [
        [make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in side.items()]
        for side in (inputs, outputs)
    ]
    initializers = [from_array(np.asarray(array), name) for name, array in constants.items()]
    opsets = [make_opsetid("", 21), make_opsetid("com.microsoft", 1)]
    model = make_model(make_graph(list(nodes), "probe", *values, initializers), opset_imports=opsets, ir_version=10)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def main() -> None:
    """Write every file."""
    for name, content in graphs():
        (FOLDER / name).write_bytes(content)


if __name__ == "__main__":
    main()
