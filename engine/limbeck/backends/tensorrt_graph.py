"""A graph as TensorRT's parser reads it: standard operators only.

The exporter writes attention as `com.microsoft.MultiHeadAttention`, which is ONNX Runtime's. TensorRT-RTX 1.7 happens
to read it, TensorRT's own parser knows the standard operators alone. From opset 23 on it becomes the standard
`Attention` (https://onnx.ai/onnx/operators/onnx__Attention.html), before that the products and the softmax that it
stands for, which TensorRT fuses again. Nothing else is changed, and no weight is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from limbeck.errors import EngineError

if TYPE_CHECKING:
    import onnx

_MICROSOFT = "com.microsoft"
_STANDARD_SINCE = 23
_KNOWN = {"num_heads", "scale", "unidirectional"}


def standard_model(path: Path) -> onnx.ModelProto:
    """The graph of an ONNX file with standard attention; weights beside the file stay there.

    Raises:
        EngineError: The file cannot be read, or has attention with a bias, a mask or a past, which limbeck never
            writes.
    """
    import onnx

    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # onnx, protobuf and the file system raise unrelated classes
        raise EngineError(f"onnx {onnx.__version__} cannot read {path}: {error}") from error
    opset = next((item.version for item in model.opset_import if item.domain in ("", "ai.onnx")), 0)
    write = _attention if opset >= _STANDARD_SINCE else _products
    nodes: list[onnx.NodeProto] = []
    for place, node in enumerate(model.graph.node):
        if (node.domain, node.op_type) == (_MICROSOFT, "MultiHeadAttention"):
            nodes.extend(write(node, f"{node.output[0]}.{place}", *_settings(path, node)))
        else:
            nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def _settings(path: Path, node: onnx.NodeProto) -> tuple[int, float | None, bool]:
    """Heads, scale (None: one over the root of the head's size) and whether attention looks back only."""
    import onnx

    given = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
    if any(node.input[3:]) or len(node.output) > 1 or given.keys() - _KNOWN:
        raise EngineError(
            f"attention '{node.name}' of {path} has a bias, a mask, a past or a setting that limbeck does not "
            "translate for TensorRT; it takes query, key and value, num_heads, scale and unidirectional"
        )
    return given["num_heads"], given.get("scale") or None, bool(given.get("unidirectional", 0))


def _attention(
    node: onnx.NodeProto, prefix: str, heads: int, scale: float | None, causal: bool
) -> Iterator[onnx.NodeProto]:
    from onnx.helper import make_node

    # make_node leaves out what is None
    yield make_node(
        "Attention",
        node.input[:3],
        node.output,
        name=prefix,
        q_num_heads=heads,
        kv_num_heads=heads,
        is_causal=int(causal),
        scale=scale,
    )


def _products(
    node: onnx.NodeProto, prefix: str, heads: int, scale: float | None, causal: bool
) -> Iterator[onnx.NodeProto]:
    """softmax(q k' scale) v on (batch, heads, tokens, size)."""
    from onnx.helper import make_node

    if causal:
        raise EngineError(
            f"attention '{node.name}' looks back only, which limbeck translates for TensorRT from opset "
            f"{_STANDARD_SINCE} on; export the graph again"
        )

    def name(part: str) -> str:
        return f"{prefix}.{part}"

    yield make_node("Constant", [], [name("apart")], value_ints=[0, 0, heads, -1])
    yield make_node("Constant", [], [name("joined")], value_ints=[0, 0, -1])
    for source, part, order in zip(node.input, "qkv", ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]), strict=False):
        yield make_node("Reshape", [source, name("apart")], [name(f"{part}.apart")])
        yield make_node("Transpose", [name(f"{part}.apart")], [name(part)], perm=order)
    # the query is scaled, not its products, which could exceed float16
    if scale is None:
        yield make_node("Shape", [name("q")], [name("size")], start=-1)
        yield make_node("CastLike", [name("size"), name("q")], [name("size.float")])
        yield make_node("Sqrt", [name("size.float")], [name("root")])
        yield make_node("Div", [name("q"), name("root")], [name("q.scaled")])
    else:
        yield make_node("Constant", [], [name("scale")], value_float=scale)
        yield make_node("CastLike", [name("scale"), name("q")], [name("scale.like")])
        yield make_node("Mul", [name("q"), name("scale.like")], [name("q.scaled")])
    yield make_node("MatMul", [name("q.scaled"), name("k")], [name("scores")])
    yield make_node("Softmax", [name("scores")], [name("weights")], axis=-1)
    yield make_node("MatMul", [name("weights"), name("v")], [name("heads")])
    yield make_node("Transpose", [name("heads")], [name("beside")], perm=[0, 2, 1, 3])
    yield make_node("Reshape", [name("beside"), name("joined")], list(node.output))
