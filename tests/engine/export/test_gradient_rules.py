"""Every derivative rule against torch's autograd, on a graph of that one operator, at a batch that was not traced."""

import numpy as np
import onnxruntime
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

import onnx_ir as ir  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from limbeck.errors import ExportError  # noqa: E402
from limbeck.export.gradient_graph import gradient_graph  # noqa: E402
from limbeck.export.gradient_rules import RULES  # noqa: E402

pytestmark = pytest.mark.torch

RNG = np.random.default_rng(0)
WEIGHTS = {
    "w": RNG.standard_normal((6, 4), dtype=np.float32),
    "kernel": RNG.standard_normal((4, 3, 3, 3), dtype=np.float32),
    "depthwise": RNG.standard_normal((3, 1, 5, 5), dtype=np.float32),
    "row": RNG.standard_normal(6, dtype=np.float32),
    "middle": RNG.standard_normal((1, 5, 6), dtype=np.float32),
}
T = {name: torch.from_numpy(weight) for name, weight in WEIGHTS.items()}
IMAGE, TOKENS = (3, 8, 8), (5, 6)


def attended(x):
    q, k, v = (part.reshape(len(x), 5, 2, 3).transpose(1, 2) for part in (x, 2 * x, -x))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(len(x), 5, 6)


def ints(name, *values):
    return f"{name} = Constant <value_ints = [{', '.join(map(str, values))}]> ()\n"


def number(name, value):
    return f"{name} = Constant <value = float {{{value}}}> ()\n"


CASES = {
    "Add": (TOKENS, "y = Add(x, row)", lambda x: x + T["row"]),
    "Add, broadcast": (
        TOKENS,
        ints("a", 1) + "m = ReduceMean(x, a)\ny = Add(m, x)",
        lambda x: x.mean(1, keepdim=True) + x,
    ),
    "Clip": (TOKENS, number("lo", -0.5) + number("hi", 0.7) + "y = Clip(x, lo, hi)", lambda x: x.clamp(-0.5, 0.7)),
    "Concat": (TOKENS, "z = Neg(x)\ny = Concat <axis = -1> (x, z, x)", lambda x: torch.cat([x, -x, x], -1)),
    "Conv": (
        IMAGE,
        "y = Conv <strides = [2, 2], pads = [1, 1, 1, 1], kernel_shape = [3, 3]> (x, kernel)",
        lambda x: F.conv2d(x, T["kernel"], stride=2, padding=1),
    ),
    "Conv, depthwise, uneven pads": (
        IMAGE,
        "y = Conv <strides = [2, 2], pads = [1, 1, 2, 2], group = 3, kernel_shape = [5, 5]> (x, depthwise)",
        lambda x: F.conv2d(F.pad(x, (1, 2, 1, 2)), T["depthwise"], stride=2, groups=3),
    ),
    "Conv, stride 1": (
        IMAGE,
        "y = Conv <pads = [1, 0, 1, 2], kernel_shape = [3, 3]> (x, kernel)",
        lambda x: F.conv2d(F.pad(x, (0, 2, 1, 1)), T["kernel"]),
    ),
    "Conv, dilated": (
        IMAGE,
        "y = Conv <dilations = [2, 2], kernel_shape = [3, 3]> (x, kernel)",
        lambda x: F.conv2d(x, T["kernel"], dilation=2),
    ),
    "Flatten": (TOKENS, "z = Flatten(x)\ny = Mul(z, z)", lambda x: x.flatten(1) ** 2),
    "Gather": (TOKENS, "i = Constant <value = int64 {-2}> ()\ny = Gather <axis = 1> (x, i)", lambda x: x[:, -2]),
    "Gelu": (TOKENS, "y = Gelu(x)", F.gelu),
    "Gelu, tanh": (TOKENS, 'y = Gelu <approximate = "tanh"> (x)', lambda x: F.gelu(x, approximate="tanh")),
    "Gemm": ((6,), "y = Gemm <alpha = 0.5> (x, w)", lambda x: 0.5 * x @ T["w"]),
    "GlobalAveragePool": (IMAGE, "y = GlobalAveragePool(x)", lambda x: x.mean((2, 3), keepdim=True)),
    "Identity": (TOKENS, "y = Identity(x)", lambda x: x),
    "LayerNormalization": (
        TOKENS,
        "y = LayerNormalization <epsilon = 0.01> (x, row)",
        lambda x: F.layer_norm(x, (6,), T["row"], eps=0.01),
    ),
    "MatMul": (TOKENS, "y = MatMul(x, w)", lambda x: x @ T["w"]),
    "MatMul, both": (
        TOKENS,
        "z = Transpose <perm = [0, 2, 1]> (x)\ny = MatMul(x, z)",
        lambda x: x @ x.transpose(1, 2),
    ),
    "MaxPool": (
        IMAGE,
        "y = MaxPool <strides = [2, 2], pads = [1, 1, 1, 1], kernel_shape = [3, 3]> (x)",
        lambda x: F.max_pool2d(x, 3, 2, 1),
    ),
    "MaxPool of equal values": (
        IMAGE,
        "r = Relu(x)\nz = MaxPool <strides = [2, 2], pads = [1, 1, 1, 1], kernel_shape = [3, 3]> (r)\ny = Add(z, z)",
        lambda x: 2 * F.max_pool2d(F.relu(x), 3, 2, 1),
    ),
    "Mul": (TOKENS, "y = Mul(x, x)", lambda x: x * x),
    "Mul, broadcast": (
        IMAGE,
        "p = GlobalAveragePool(x)\ns = Sigmoid(p)\ny = Mul(x, s)",
        lambda x: x * x.mean((2, 3), keepdim=True).sigmoid(),
    ),
    "MultiHeadAttention": (
        TOKENS,
        number("two", 2) + "k = Mul(x, two)\nv = Neg(x)\n"
        "y = com.microsoft.MultiHeadAttention <num_heads = 2> (x, k, v)",
        attended,
    ),
    "Neg": (TOKENS, "y = Neg(x)", lambda x: -x),
    "ReduceMean": (IMAGE, ints("a", 2, 3) + "y = ReduceMean <keepdims = 0> (x, a)", lambda x: x.mean((2, 3))),
    "Relu": (TOKENS, "y = Relu(x)", F.relu),
    "Reshape": (TOKENS, ints("s", -1, 10, 3) + "z = Reshape(x, s)\ny = Mul(z, z)", lambda x: x.reshape(-1, 10, 3) ** 2),
    "Sigmoid": (TOKENS, "y = Sigmoid(x)", torch.sigmoid),
    "Slice": (
        TOKENS,
        ints("b", 1) + ints("e", 9223372036854775807) + ints("a", 1) + "y = Slice(x, b, e, a)",
        lambda x: x[:, 1:],
    ),
    "Slice, every other": (
        TOKENS,
        ints("b", 1) + ints("e", 9223372036854775807) + ints("a", 2) + ints("s", 2) + "y = Slice(x, b, e, a, s)",
        lambda x: x[..., 1::2],
    ),
    "Softmax": (TOKENS, "y = Softmax <axis = -1> (x)", lambda x: x.softmax(-1)),
    "Split": (
        TOKENS,
        "p, q, r = Split <axis = 2, num_outputs = 3> (x)\nz = Mul(p, r)\ny = Neg(z)",
        lambda x: -x[..., :2] * x[..., 4:],
    ),
    "Squeeze": (
        TOKENS,
        ints("b", 0) + ints("e", 1) + ints("a", 1) + "z = Slice(x, b, e, a)\ny = Squeeze(z, a)",
        lambda x: x[:, 0],
    ),
    "Sub": (TOKENS, "y = Sub(middle, x)", lambda x: T["middle"] - x),
    "Tanh": (TOKENS, "y = Tanh(x)", torch.tanh),
    "Transpose": (IMAGE, "y = Transpose <perm = [2, 0, 3, 1]> (x)", lambda x: x.permute(2, 0, 3, 1)),
    "Unsqueeze": (TOKENS, ints("a", 2) + "z = Unsqueeze(x, a)\ny = Mul(z, z)", lambda x: x.unsqueeze(2) ** 2),
}


def graph_of(shape, body, *, rank):
    sizes, made = ", ".join(map(str, shape)), ", ".join(f"size_{axis}" for axis in range(rank))
    model = onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["" : 23, "com.microsoft" : 1]>\n'
        f"f (float[batch, {sizes}] x) => (float[{made}] y) {{\n{body}\n}}"
    )
    used = {name for node in model.graph.node for name in node.input} & WEIGHTS.keys()
    model.graph.initializer.extend(onnx.numpy_helper.from_array(WEIGHTS[name], name) for name in sorted(used))
    return model


def gradient_in_onnx(model, **feeds):
    loaded = ir.from_proto(model)
    gradient_graph(loaded)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # what is unused in so small a graph is no news
    session = onnxruntime.InferenceSession(ir.to_proto(loaded).SerializeToString(), options)
    return session.run(None, feeds)


@pytest.mark.parametrize("case", CASES)
def test_the_gradient_is_autograds(case):
    shape, body, function = CASES[case]
    x = torch.randn(3, *shape, generator=torch.Generator().manual_seed(1), requires_grad=True)
    y = function(x)
    cotangent = torch.randn(y.shape, generator=torch.Generator().manual_seed(2))
    (expected,) = torch.autograd.grad(y, x, cotangent)
    features, found = gradient_in_onnx(
        graph_of(shape, body, rank=y.ndim), x=x.detach().numpy(), cotangent=cotangent.numpy()
    )
    np.testing.assert_allclose(features, y.detach().numpy(), atol=1e-5)
    np.testing.assert_allclose(found, expected.numpy(), atol=2e-5)


def test_every_rule_has_a_case():
    assert {case.split(",")[0].split(" ")[0] for case in CASES} == set(RULES)


def test_an_operator_without_a_rule_is_named():
    with pytest.raises(ExportError, match="the gradient of the operator Sinh is not known to limbeck; it knows Add"):
        gradient_graph(ir.from_proto(graph_of(TOKENS, "y = Sinh(x)", rank=3)))
