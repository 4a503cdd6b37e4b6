"""What each ONNX operator computes, as a torch function of the same inputs and attributes.

Positional parameters are the operator's inputs, in order, None where an optional one is left out. Keyword
parameters are its attributes, by name, with ONNX's defaults. The definitions are ONNX's at opset 23
(https://onnx.ai/onnx/operators) and ONNX Runtime's for `com.microsoft`
(https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md). A value that a function does not
compute raises `NotImplementedError`; no attribute is read and dropped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

# Elementwise


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


def _dropout(x: Tensor, ratio: Tensor | None = None, training: Tensor | None = None) -> Tensor:
    must_be("training_mode", training is not None and bool(training), False)
    return x


# Products


def _gemm(
    a: Tensor,
    b: Tensor,
    c: Tensor | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,  # noqa: N803 - ONNX's names
    transB: int = 0,  # noqa: N803
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
        must_be(f"the input {name}", given, None)
    heads = [_split_heads(tensor, num_heads) for tensor in (query, key, value)]
    return _join_heads(F.scaled_dot_product_attention(*heads, scale=scale or None))


def _split_heads(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def _join_heads(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)


# Normalization


def _layer_normalization(
    x: Tensor,
    scale: Tensor,
    bias: Tensor | None = None,
    *,
    axis: int = -1,
    epsilon: float = 1e-5,
    stash_type: int = 1,
) -> Tensor:
    must_be("stash_type", stash_type, 1)
    wide = _at_least_float32(x)
    normal = F.layer_norm(wide, wide.shape[axis:], eps=epsilon).to(x.dtype) * scale
    return normal if bias is None else normal + bias


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
    # before opset 21 there was one scale a group
    must_be("the number of scales", len(scale), x.shape[1])
    normal = F.group_norm(_at_least_float32(x), num_groups, eps=epsilon).to(x.dtype)
    return normal * _a_channel(scale, x) + _a_channel(bias, x)


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


def _a_channel(values: Tensor, x: Tensor) -> Tensor:
    return values.reshape(-1, *[1] * (x.ndim - 2))


def _softmax(x: Tensor, *, axis: int = -1) -> Tensor:
    return x.softmax(axis)


def _log_softmax(x: Tensor, *, axis: int = -1) -> Tensor:
    return x.log_softmax(axis)


def _reduction(compute: Callable[[Tensor, tuple[int, ...], bool], Tensor]) -> Callable[..., Tensor]:
    def reduce_axes(
        x: Tensor, axes: Tensor | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0
    ) -> Tensor:
        chosen = () if axes is None else tuple(axes.tolist())
        if not chosen and noop_with_empty_axes:
            return x
        return compute(x, chosen or tuple(range(x.ndim)), bool(keepdims))

    return reduce_axes


def _arg_max(x: Tensor, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Tensor:
    must_be("select_last_index", select_last_index, 0)
    return x.argmax(axis, keepdim=bool(keepdims))
