"""The ONNX operators that move a window over an image: convolutions, pools, padding, resizing.

Same rules as in `torch_ops`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from limbeck.backends.torch_values import must_be

def conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Sequence[int] = (),
    group: int = 1,
    kernel_shape: Sequence[int] = (),
    pads: Sequence[int] = (),
    strides: Sequence[int] = (),
) -> Tensor:
    must_be("kernel_shape", tuple(kernel_shape) or weight.shape[2:], weight.shape[2:])
    rank = x.ndim - 2
    convolve = (F.conv1d, F.conv2d, F.conv3d)[rank - 1]
    stride, dilation = strides or (1,) * rank, dilations or (1,) * rank
    return convolve(_padded(x, auto_pad, pads, 0.0), weight, bias, stride, 0, dilation, group)


def conv_transpose(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Sequence[int] = (),
    group: int = 1,
    kernel_shape: Sequence[int] = (),
    output_padding: Sequence[int] = (),
    pads: Sequence[int] = (),
    strides: Sequence[int] = (),
) -> Tensor:
    must_be("auto_pad", auto_pad, "NOTSET")
    must_be("kernel_shape", tuple(kernel_shape) or weight.shape[2:], weight.shape[2:])
    rank = x.ndim - 2
    before, after = (pads or (0,) * 2 * rank)[:rank], (pads or (0,) * 2 * rank)[rank:]
    must_be("pads at the end", tuple(after), tuple(before))
    convolve = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[rank - 1]
    ones = (1,) * rank
    return convolve(x, weight, bias, strides or ones, before, output_padding or 0, group, dilations or ones)


def max_pool(
    x: Tensor,
    *,
    kernel_shape: Sequence[int],
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: Sequence[int] = (),
    pads: Sequence[int] = (),
    storage_order: int = 0,
    strides: Sequence[int] = (),
) -> Tensor:
    must_be("ceil_mode", ceil_mode, 0)
    must_be("storage_order", storage_order, 0)
    rank = x.ndim - 2
    pool = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[rank - 1]
    ones = (1,) * rank
    padded = _padded(x, auto_pad, pads, -math.inf)
    pooled: Tensor = pool(padded, kernel_shape, strides or ones, 0, dilations or ones)
    return pooled


def average_pool(
    x: Tensor,
    *,
    kernel_shape: Sequence[int],
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    count_include_pad: int = 0,
    dilations: Sequence[int] = (),
    pads: Sequence[int] = (),
    strides: Sequence[int] = (),
) -> Tensor:
    rank = x.ndim - 2
    must_be("ceil_mode", ceil_mode, 0)
    must_be("dilations", tuple(dilations) or (1,) * rank, (1,) * rank)
    pool = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[rank - 1]
    stride = strides or (1,) * rank
    mean = pool(_padded(x, auto_pad, pads, 0.0), kernel_shape, stride)
    if count_include_pad:
        return mean
    return mean / pool(_padded(torch.ones_like(x), auto_pad, pads, 0.0), kernel_shape, stride)


def global_average_pool(x: Tensor) -> Tensor:
    return x.mean(tuple(range(2, x.ndim)), keepdim=True)


def global_max_pool(x: Tensor) -> Tensor:
    return x.amax(tuple(range(2, x.ndim)), keepdim=True)


def _padded(x: Tensor, auto_pad: str, pads: Sequence[int], fill: float) -> Tensor:
    """Pad the spatial dimensions; ONNX lists all beginnings, then all ends."""
    must_be("auto_pad", auto_pad, "NOTSET", "VALID")
    return _pad_by(x, [0, 0, *pads[: len(pads) // 2], 0, 0, *pads[len(pads) // 2 :]], "constant", fill) if any(pads) else x


def _pad_by(x: Tensor, pads: Sequence[int], mode: str, fill: float) -> Tensor:
    """`pads` has the beginnings of all dimensions, then the ends; torch wants pairs, the last dimension first."""
    pairs = list(zip(pads[: x.ndim], pads[x.ndim :], strict=True))
    while mode != "constant" and pairs and pairs[0] == (0, 0):
        pairs.pop(0)  # torch's other modes take only as many dimensions as there are spatial ones
    return F.pad(x, [size for pair in reversed(pairs) for size in pair], mode, fill if mode == "constant" else None)


