"""What each ONNX operator computes, as a torch function of the same inputs and attributes.

Positional parameters are the operator's inputs, in order, None where an optional one is left out. Keyword
parameters are its attributes, by name, with ONNX's defaults. The definitions are ONNX's at opset 18 to 23
(https://onnx.ai/onnx/operators) and ONNX Runtime's for `com.microsoft`
(https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md). An attribute that is not a parameter
is refused by whoever calls, a value that is not computed by `must_be`; the only ones that are read and dropped
cannot change the result.

    torch_ops      the table; elementwise, products, normalizations, reductions
    torch_spatial  convolutions, pools, resizing
    torch_layout   shapes, slices, joins, gathers
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from limbeck.backends import torch_layout as layout
from limbeck.backends import torch_spatial as spatial
from limbeck.backends.torch_values import DTYPES, must_be


def _div(a: Tensor, b: Tensor) -> Tensor:
    return a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


def _power(base: Tensor, exponent: Tensor) -> Tensor:
    return torch.pow(base, exponent).to(base.dtype)


def _gelu(x: Tensor, *, approximate: str = "none") -> Tensor:
    return F.gelu(x, approximate=approximate)


def _leaky_relu(x: Tensor, *, alpha: float = 0.01) -> Tensor:
    return F.leaky_relu(x, alpha)


def _elu(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    return F.elu(x, alpha)


def _hard_sigmoid(x: Tensor, *, alpha: float = 0.2, beta: float = 0.5) -> Tensor:
    return (alpha * x + beta).clamp(0, 1)


def _clip(x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    x = x if low is None else torch.maximum(x, low)
    return x if high is None else torch.minimum(x, high)


def _cast(x: Tensor, *, to: int, saturate: int = 1) -> Tensor:
    must_be("saturate", saturate, 1)
    must_be("to", to, *DTYPES)
    return x.to(DTYPES[to])


def _dropout(
    x: Tensor,
    ratio: Tensor | None = None,
    training: Tensor | None = None,
    *,
    seed: int = 0,  # of training only, as is ratio
) -> Tensor:
    must_be("training_mode", training is not None and bool(training), False)
    return x


def _gemm(
    a: Tensor,
    b: Tensor,
    c: Tensor | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> Tensor:
    product = alpha * ((a.T if transA else a) @ (b.T if transB else b))
    return product if c is None else product + beta * c


def _einsum(*tensors: Tensor, equation: str) -> Tensor:
    return torch.einsum(equation, *tensors)


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None = None,
    *,
    q_num_heads: int = 0,
    kv_num_heads: int = 0,
    scale: float | None = None,
    is_causal: int = 0,
    softcap: float = 0.0,
    qk_matmul_output_mode: int = 0,
) -> Tensor:
    must_be("softcap", softcap, 0.0)
    must_be("qk_matmul_output_mode", qk_matmul_output_mode, 0)
    must_be("is_causal with attn_mask", bool(is_causal and mask is not None), False)
    flat = query.ndim == 3
    if flat:
        query = _split_heads(query, q_num_heads)
        key, value = _split_heads(key, kv_num_heads), _split_heads(value, kv_num_heads)
    attended = F.scaled_dot_product_attention(
        query, key, value, mask, is_causal=bool(is_causal), scale=scale, enable_gqa=query.shape[1] != key.shape[1]
    )
    return _join_heads(attended) if flat else attended


def _multi_head_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias: Tensor | None = None,
    key_padding_mask: Tensor | None = None,
    attention_bias: Tensor | None = None,
    *,
    num_heads: int,
    scale: float = 0.0,
    unidirectional: int = 0,
) -> Tensor:
    must_be("unidirectional", unidirectional, 0)
    for name, given in (("bias", bias), ("key_padding_mask", key_padding_mask), ("attention_bias", attention_bias)):
        must_be(f"the input {name}", "given" if given is not None else "absent", "absent")
    q, k, v = (_split_heads(tensor, num_heads) for tensor in (query, key, value))
    return _join_heads(F.scaled_dot_product_attention(q, k, v, scale=scale or None))


def _split_heads(x: Tensor, heads: int) -> Tensor:
    return x.reshape(*x.shape[:2], heads, -1).transpose(1, 2)


def _join_heads(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)


def _layer_normalization(
    x: Tensor,
    scale: Tensor,
    bias: Tensor | None = None,
    *,
    axis: int = -1,
    epsilon: float = 1e-5,
    stash_type: int = 1,
) -> tuple[Tensor, Tensor, Tensor]:
    must_be("stash_type", stash_type, 1)
    wide = _at_least_float32(x)
    axes = tuple(range(axis % x.ndim, x.ndim))
    mean = wide.mean(axes, keepdim=True)
    inverse = ((wide - mean).square().mean(axes, keepdim=True) + epsilon).rsqrt()
    normal = ((wide - mean) * inverse).to(x.dtype) * scale
    return normal if bias is None else normal + bias, mean, inverse


def _rms_normalization(
    x: Tensor, scale: Tensor, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> Tensor:
    must_be("stash_type", stash_type, 1)
    wide = _at_least_float32(x)
    return F.rms_norm(wide, wide.shape[axis:], eps=epsilon).to(x.dtype) * scale


def _group_normalization(
    x: Tensor, scale: Tensor, bias: Tensor, *, num_groups: int, epsilon: float = 1e-5, stash_type: int = 1
) -> Tensor:
    must_be("stash_type", stash_type, 1)
    normal = F.group_norm(_at_least_float32(x), num_groups, eps=epsilon).to(x.dtype)
    return normal * layout.along(scale, 1, x) + layout.along(bias, 1, x)


def _instance_normalization(x: Tensor, scale: Tensor, bias: Tensor, *, epsilon: float = 1e-5) -> Tensor:
    return F.instance_norm(x, weight=scale, bias=bias, eps=epsilon)


def _batch_normalization(
    x: Tensor,
    scale: Tensor,
    bias: Tensor,
    mean: Tensor,
    variance: Tensor,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,  # of training only
    training_mode: int = 0,
) -> Tensor:
    must_be("training_mode", training_mode, 0)
    return F.batch_norm(x, mean, variance, scale, bias, training=False, eps=epsilon)


def _at_least_float32(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _softmax(x: Tensor, *, axis: int = -1) -> Tensor:
    return x.softmax(axis)


def _log_softmax(x: Tensor, *, axis: int = -1) -> Tensor:
    return x.log_softmax(axis)


def _reduction(compute: Callable[[Tensor, tuple[int, ...], bool], Tensor]) -> Callable[..., Tensor]:
    def reduce_axes(
        x: Tensor, axes: Tensor | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0
    ) -> Tensor:
        chosen = () if axes is None else tuple(axes.tolist())
        must_be("noop_with_empty_axes without axes", bool(noop_with_empty_axes and not chosen), False)
        return compute(x, chosen or tuple(range(x.ndim)), bool(keepdims))

    return reduce_axes


def _arg_max(x: Tensor, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Tensor:
    must_be("select_last_index", select_last_index, 0)
    return x.argmax(axis, keepdim=bool(keepdims))


def _quantize(
    x: Tensor,
    scale: Tensor,
    zero: Tensor | None = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
    precision: int = 0,
    saturate: int = 1,  # of float8 only
) -> Tensor:
    must_be("block_size", block_size, 0)
    must_be("precision", precision, 0)
    must_be("output_dtype", output_dtype, 0, 2, 3)
    dtype = zero.dtype if zero is not None else DTYPES[output_dtype or 2]
    levels = (x / _steps(scale, x, axis)).round()
    offset = 0 if zero is None else _steps(zero, x, axis)
    bounds = torch.iinfo(dtype)
    return (levels + offset).clamp(bounds.min, bounds.max).to(dtype)


def _dequantize(
    x: Tensor, scale: Tensor, zero: Tensor | None = None, *, axis: int = 1, block_size: int = 0, output_dtype: int = 0
) -> Tensor:
    must_be("block_size", block_size, 0)
    must_be("output_dtype", output_dtype, 0)
    offset = 0 if zero is None else _steps(zero, x, axis).to(torch.int32)
    return (x.to(torch.int32) - offset).to(scale.dtype) * _steps(scale, x, axis)


def _steps(values: Tensor, x: Tensor, axis: int) -> Tensor:
    """One value for all of `x`, or one for each place of `axis`."""
    return values if values.ndim == 0 else layout.along(values, axis, x)


def _plain(compute: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """torch's function as it stands, for an operator without attributes."""
    return lambda *inputs: compute(*inputs)


def _chain(compute: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    """A function of two, for an operator of any number of inputs."""
    return lambda *inputs: reduce(compute, inputs)


OPERATORS: Mapping[tuple[str, str], Callable[..., Any]] = {
    ("", "Abs"): _plain(torch.abs),
    ("", "Add"): _plain(torch.add),
    ("", "And"): _plain(torch.logical_and),
    ("", "ArgMax"): _arg_max,
    ("", "Attention"): _attention,
    ("", "AveragePool"): spatial.average_pool,
    ("", "BatchNormalization"): _batch_normalization,
    ("", "Cast"): _cast,
    ("", "Ceil"): _plain(torch.ceil),
    ("", "Clip"): _clip,
    ("", "Concat"): layout.concat,
    ("", "Constant"): layout.constant,
    ("", "ConstantOfShape"): layout.constant_of_shape,
    ("", "Conv"): spatial.conv,
    ("", "ConvTranspose"): spatial.conv_transpose,
    ("", "Cos"): _plain(torch.cos),
    ("", "DepthToSpace"): layout.depth_to_space,
    ("", "DequantizeLinear"): _dequantize,
    ("", "Div"): _div,
    ("", "Dropout"): _dropout,
    ("", "Einsum"): _einsum,
    ("", "Elu"): _elu,
    ("", "Equal"): _plain(torch.eq),
    ("", "Erf"): _plain(torch.erf),
    ("", "Exp"): _plain(torch.exp),
    ("", "Expand"): layout.expand,
    ("", "Flatten"): layout.flatten,
    ("", "Floor"): _plain(torch.floor),
    ("", "Gather"): layout.gather,
    ("", "GatherElements"): layout.gather_elements,
    ("", "Gelu"): _gelu,
    ("", "Gemm"): _gemm,
    ("", "GlobalAveragePool"): spatial.global_average_pool,
    ("", "GlobalMaxPool"): spatial.global_max_pool,
    ("", "Greater"): _plain(torch.gt),
    ("", "GreaterOrEqual"): _plain(torch.ge),
    ("", "GroupNormalization"): _group_normalization,
    ("", "HardSigmoid"): _hard_sigmoid,
    ("", "HardSwish"): _plain(F.hardswish),
    ("", "Identity"): _plain(lambda x: x),
    ("", "InstanceNormalization"): _instance_normalization,
    ("", "LayerNormalization"): _layer_normalization,
    ("", "LeakyRelu"): _leaky_relu,
    ("", "Less"): _plain(torch.lt),
    ("", "LessOrEqual"): _plain(torch.le),
    ("", "Log"): _plain(torch.log),
    ("", "LogSoftmax"): _log_softmax,
    ("", "MatMul"): _plain(torch.matmul),
    ("", "Max"): _chain(torch.maximum),
    ("", "MaxPool"): spatial.max_pool,
    ("", "Min"): _chain(torch.minimum),
    ("", "Mul"): _plain(torch.mul),
    ("", "Neg"): _plain(torch.neg),
    ("", "Not"): _plain(torch.logical_not),
    ("", "Or"): _plain(torch.logical_or),
    ("", "Pad"): layout.pad,
    ("", "Pow"): _power,
    ("", "QuantizeLinear"): _quantize,
    ("", "RMSNormalization"): _rms_normalization,
    ("", "Range"): layout.range_,
    ("", "Reciprocal"): _plain(torch.reciprocal),
    ("", "ReduceL2"): _reduction(lambda x, axes, keep: x.square().sum(axes, keep).sqrt()),
    ("", "ReduceMax"): _reduction(torch.amax),
    ("", "ReduceMean"): _reduction(torch.mean),
    ("", "ReduceMin"): _reduction(torch.amin),
    ("", "ReduceSum"): _reduction(lambda x, axes, keep: x.sum(axes, keep, dtype=x.dtype)),
    ("", "Relu"): _plain(torch.relu),
    ("", "Reshape"): layout.reshape,
    ("", "Resize"): spatial.resize,
    ("", "Round"): _plain(torch.round),
    ("", "Shape"): layout.shape,
    ("", "Sigmoid"): _plain(torch.sigmoid),
    ("", "Sign"): _plain(torch.sign),
    ("", "Sin"): _plain(torch.sin),
    ("", "Size"): layout.size,
    ("", "Slice"): layout.slice_,
    ("", "Softmax"): _softmax,
    ("", "Softplus"): _plain(F.softplus),
    ("", "SpaceToDepth"): layout.space_to_depth,
    ("", "Split"): layout.split,
    ("", "Sqrt"): _plain(torch.sqrt),
    ("", "Squeeze"): layout.squeeze,
    ("", "Sub"): _plain(torch.sub),
    ("", "Sum"): _chain(torch.add),
    ("", "Tanh"): _plain(torch.tanh),
    ("", "Tile"): layout.tile,
    ("", "Transpose"): layout.transpose,
    ("", "Trilu"): layout.trilu,
    ("", "Unsqueeze"): layout.unsqueeze,
    ("", "Where"): _plain(torch.where),
    ("com.microsoft", "MultiHeadAttention"): _multi_head_attention,
}
"""Domain and name of an operator, to its function. The domain of standard ONNX is the empty string."""
