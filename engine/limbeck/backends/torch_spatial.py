"""The ONNX operators over the pixels of an image: convolutions, pools, resizing.

Same rules as in `torch_ops`. Images are (batch, channels, *pixels) with one to three spatial dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from limbeck.backends.torch_layout import along
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
    """Cross-correlation, as every framework calls it a convolution."""
    must_be("kernel_shape", tuple(kernel_shape) or weight.shape[2:], weight.shape[2:])
    ones = (1,) * (x.ndim - 2)
    convolve = (F.conv1d, F.conv2d, F.conv3d)[x.ndim - 3]
    surrounded = _surrounded(x, auto_pad, pads, 0.0)
    return convolve(surrounded, weight, bias, strides or ones, 0, dilations or ones, group)


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
    """The adjoint of `conv`; `pads` are cut off the result, and `output_padding` is not cut off its end."""
    must_be("auto_pad", auto_pad, "NOTSET")
    must_be("kernel_shape", tuple(kernel_shape) or weight.shape[2:], weight.shape[2:])
    rank = x.ndim - 2
    ones = (1,) * rank
    cut = tuple(pads) or (0,) * 2 * rank
    kept = tuple(output_padding) or (0,) * rank
    convolve = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[rank - 1]
    whole = convolve(x, weight, None, strides or ones, 0, 0, group, dilations or ones)
    # negative padding cuts; the last axis comes first
    edges = [edge for axis in reversed(range(rank)) for edge in (-cut[axis], kept[axis] - cut[rank + axis])]
    found = F.pad(whole, edges)
    return found if bias is None else found + bias.reshape(-1, *ones)


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
    """The largest value of each window; the indices are not computed."""
    must_be("ceil_mode", ceil_mode, 0)
    must_be("storage_order", storage_order, 0)
    ones = (1,) * (x.ndim - 2)
    pool = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[x.ndim - 3]
    surrounded = _surrounded(x, auto_pad, pads, -math.inf)
    pooled: Tensor = pool(surrounded, tuple(kernel_shape), tuple(strides) or ones, 0, tuple(dilations) or ones)
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
    """The mean of each window, with or without the padding in the count."""
    ones = (1,) * (x.ndim - 2)
    must_be("ceil_mode", ceil_mode, 0)
    must_be("dilations", tuple(dilations) or ones, ones)
    pool = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[x.ndim - 3]
    kernel, stride = tuple(kernel_shape), tuple(strides) or ones
    mean = pool(_surrounded(x, auto_pad, pads, 0.0), kernel, stride)
    if count_include_pad:
        return mean
    share_inside = pool(_surrounded(torch.ones_like(x), auto_pad, pads, 0.0), kernel, stride)
    return mean / share_inside


def global_average_pool(x: Tensor) -> Tensor:
    """The mean of all pixels, each spatial size 1."""
    return x.mean(tuple(range(2, x.ndim)), keepdim=True)


def global_max_pool(x: Tensor) -> Tensor:
    """The largest of all pixels, each spatial size 1."""
    return x.amax(tuple(range(2, x.ndim)), keepdim=True)


def resize(
    x: Tensor,
    roi: Tensor | None = None,
    scales: Tensor | None = None,
    sizes: Tensor | None = None,
    *,
    antialias: int = 0,
    axes: Sequence[int] = (),
    coordinate_transformation_mode: str = "half_pixel",
    cubic_coeff_a: float = -0.75,  # of mode cubic only
    exclude_outside: int = 0,
    extrapolation_value: float = 0.0,  # of tf_crop_and_resize only, as is roi
    keep_aspect_ratio_policy: str = "stretch",
    mode: str = "nearest",
    nearest_mode: str = "round_prefer_floor",
) -> Tensor:
    """Nearest or linear, one dimension after another."""
    must_be("antialias", antialias, 0)
    must_be("exclude_outside", exclude_outside, 0)
    must_be("keep_aspect_ratio_policy", keep_aspect_ratio_policy, "stretch")
    must_be("mode", mode, "nearest", "linear")
    for i, axis in enumerate(axes or range(x.ndim)):
        old = x.shape[axis]
        if sizes is not None:
            new = int(sizes[i])
            scale = new / old
        elif scales is not None:
            scale = float(scales[i])
            new = math.floor(old * scale)
            if coordinate_transformation_mode == "align_corners":
                must_be("the size to align, old * scale,", old * scale, new)
        else:
            raise NotImplementedError("neither scales nor sizes is given; one of them must be")
        places = _places(new, old, scale, coordinate_transformation_mode)
        if mode == "nearest":
            x = x.index_select(axis, _nearest(places, nearest_mode).clamp(0, old - 1).long())
        else:
            x = _interpolated(x, axis, places)
    return x


def _places(new: int, old: int, scale: float, mode: str) -> Tensor:
    """Where in the old image each new pixel lies."""
    must_be("coordinate_transformation_mode", mode, "half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners")
    pixels = torch.arange(new, dtype=torch.float64)
    if mode == "asymmetric":
        return pixels / scale
    if mode == "align_corners":
        return pixels * (old - 1) / max(new - 1, 1)
    if mode == "pytorch_half_pixel" and new == 1:
        return pixels
    return (pixels + 0.5) / scale - 0.5


def _nearest(places: Tensor, mode: str) -> Tensor:
    modes: dict[str, Callable[[Tensor], Tensor]] = {
        "round_prefer_floor": lambda x: (x - 0.5).ceil(),
        "round_prefer_ceil": lambda x: (x + 0.5).floor(),
        "floor": torch.floor,
        "ceil": torch.ceil,
    }
    must_be("nearest_mode", mode, *modes)
    return modes[mode](places)


def _interpolated(x: Tensor, axis: int, places: Tensor) -> Tensor:
    """Linear between the two neighbors; outside, the edge."""
    last = x.shape[axis] - 1
    inside = places.clamp(0, last)
    left = inside.floor().long()
    weight = along((inside - left).to(x.dtype), axis, x)
    right = (left + 1).clamp(max=last)
    return (1 - weight) * x.index_select(axis, left) + weight * x.index_select(axis, right)


def _surrounded(x: Tensor, auto_pad: str, pads: Sequence[int], fill: float) -> Tensor:
    """Pad the pixels; ONNX lists all beginnings, then all ends, torch pairs from the last dimension."""
    must_be("auto_pad", auto_pad, "NOTSET", "VALID")
    half = len(pads) // 2
    pairs = zip(reversed(pads[:half]), reversed(pads[half:]), strict=True)
    return F.pad(x, [size for pair in pairs for size in pair], value=fill)
