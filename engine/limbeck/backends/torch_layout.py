"""The ONNX operators that move values without changing them: shapes, slices, joins, gathers.

Same rules as in `torch_ops`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from limbeck.backends.torch_values import must_be


def reshape(x: Tensor, shape: Tensor, *, allowzero: int = 0) -> Tensor:
    """-1 is inferred; 0 copies the size of `x`, unless `allowzero`."""
    sizes = [x.shape[i] if size == 0 and not allowzero else size for i, size in enumerate(shape.tolist())]
    return x.reshape(sizes)


def flatten(x: Tensor, *, axis: int = 1) -> Tensor:
    """To two dimensions, those before `axis` and the others."""
    return x.reshape(math.prod(x.shape[:axis]), -1)


def transpose(x: Tensor, *, perm: Sequence[int] = ()) -> Tensor:
    """Without `perm`, all dimensions in reverse."""
    return x.permute(*perm or reversed(range(x.ndim)))


def squeeze(x: Tensor, axes: Tensor | None = None) -> Tensor:
    """Without `axes`, every dimension of size 1; torch leaves larger ones, ONNX forbids them."""
    if axes is None:
        return x.squeeze()
    must_be("a size to squeeze", {x.shape[axis] for axis in axes.tolist()}, {1}, set())
    return x.squeeze(axes.tolist())


def unsqueeze(x: Tensor, axes: Tensor) -> Tensor:
    """`axes` are positions in the result."""
    rank = x.ndim + axes.numel()
    for axis in sorted(axis % rank for axis in axes.tolist()):
        x = x.unsqueeze(axis)
    return x


def concat(*tensors: Tensor, axis: int) -> Tensor:
    """All tensors one after another along `axis`."""
    return torch.cat(tensors, axis)


def split(x: Tensor, sizes: Tensor | None = None, *, axis: int = 0, num_outputs: int = 0) -> tuple[Tensor, ...]:
    """Of `sizes`, or `num_outputs` parts of equal size, of which the last may be smaller."""
    if sizes is not None:
        return torch.split(x, sizes.tolist(), axis)
    if not num_outputs:
        raise NotImplementedError("neither split nor num_outputs is given; one of them must be")
    return torch.split(x, -(-x.shape[axis] // num_outputs), axis)


def slice_(x: Tensor, starts: Tensor, ends: Tensor, axes: Tensor | None = None, steps: Tensor | None = None) -> Tensor:
    """Python's slices on each of `axes`; without `axes`, on the first dimensions."""
    chosen = range(starts.numel()) if axes is None else axes.tolist()
    strides = [1] * starts.numel() if steps is None else steps.tolist()
    for axis, start, end, step in zip(chosen, starts.tolist(), ends.tolist(), strides, strict=True):
        places = range(*slice(start, end, step).indices(x.shape[axis]))
        x = x.index_select(axis, torch.tensor(places, dtype=torch.int64))
    return x


def gather(x: Tensor, indices: Tensor, *, axis: int = 0) -> Tensor:
    """Rows of `axis`; the shape of `indices` takes its place. Negative indices count from the end."""
    axis %= x.ndim
    flat = x.index_select(axis, _from_start(indices, x.shape[axis]).reshape(-1))
    return flat.reshape(*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])


def gather_elements(x: Tensor, indices: Tensor, *, axis: int = 0) -> Tensor:
    """One value for each index, of the shape of `indices`. Negative indices count from the end."""
    return x.gather(axis, _from_start(indices, x.shape[axis]))


def expand(x: Tensor, shape: Tensor) -> Tensor:
    """Broadcast both ways: a size in `shape` may be smaller than that of `x`."""
    # where broadcasts both ways and copies nothing of an empty scalar
    return torch.where(torch.tensor(True), x, x.new_empty(()).expand(shape.tolist()))


def tile(x: Tensor, repeats: Tensor) -> Tensor:
    """Repeat every dimension."""
    return x.repeat(repeats.tolist())


def pad(
    x: Tensor, pads: Tensor, value: Tensor | None = None, axes: Tensor | None = None, *, mode: str = "constant"
) -> Tensor:
    """`pads` lists the beginnings of `axes`, then the ends; negative ones cut. A reflection leaves out the edge."""
    must_be("mode", mode, "constant", "edge", "reflect", "wrap")
    chosen = range(x.ndim) if axes is None else axes.tolist()
    sizes = pads.tolist()
    for axis, before, after in zip(chosen, sizes[: len(chosen)], sizes[len(chosen) :], strict=True):
        last = x.shape[axis] - 1
        places = torch.arange(-before, last + 1 + after)
        if mode == "constant":
            inside = (places >= 0) & (places <= last)
            fill = torch.zeros((), dtype=x.dtype) if value is None else value.reshape(())
            x = torch.where(along(inside, axis, x), x.index_select(axis, places.clamp(0, last)), fill)
        elif mode == "edge":
            x = x.index_select(axis, places.clamp(0, last))
        elif mode == "wrap":
            x = x.index_select(axis, places % (last + 1))
        else:
            x = x.index_select(axis, last - (places % max(2 * last, 1) - last).abs())
    return x


def shape(x: Tensor, *, start: int = 0, end: int | None = None) -> Tensor:
    """The sizes of `x` from `start` to `end`."""
    return torch.tensor(x.shape[start:end], dtype=torch.int64)


def size(x: Tensor) -> Tensor:
    """How many values `x` has."""
    return torch.tensor(x.numel())


def constant(
    *,
    value: Tensor | None = None,
    value_float: float | None = None,
    value_floats: Sequence[float] | None = None,
    value_int: int | None = None,
    value_ints: Sequence[int] | None = None,
) -> Tensor:
    """The one attribute that is given."""
    if value is not None:
        return value
    if value_float is not None or value_floats is not None:
        return torch.tensor(value_floats if value_float is None else value_float, dtype=torch.float32)
    return torch.tensor(value_ints if value_int is None else value_int, dtype=torch.int64)


def constant_of_shape(shape: Tensor, *, value: Tensor | None = None) -> Tensor:
    """One value everywhere; a float32 zero if none is given."""
    return (torch.zeros(1) if value is None else value).expand(shape.tolist())


def range_(start: Tensor, limit: Tensor, delta: Tensor) -> Tensor:
    """From `start` to before `limit`."""
    return torch.arange(start.item(), limit.item(), delta.item(), dtype=start.dtype)


def trilu(x: Tensor, diagonal: Tensor | None = None, *, upper: int = 1) -> Tensor:
    """The upper or the lower triangle, zeros elsewhere."""
    k = 0 if diagonal is None else int(diagonal)
    return x.triu(k) if upper else x.tril(k)


def depth_to_space(x: Tensor, *, blocksize: int, mode: str = "DCR") -> Tensor:
    """Channels to blocks of pixels; the channels are (depth, block) in mode CRD and (block, depth) in DCR."""
    must_be("mode", mode, "DCR", "CRD")
    batch, _, height, width = x.shape
    if mode == "DCR":
        x = x.reshape(batch, blocksize**2, -1, height, width).transpose(1, 2).reshape(x.shape)
    return F.pixel_shuffle(x, blocksize)


def space_to_depth(x: Tensor, *, blocksize: int) -> Tensor:
    """The inverse of `depth_to_space` in mode DCR."""
    channels = x.shape[1]
    x = F.pixel_unshuffle(x, blocksize)
    batch, _, height, width = x.shape
    return x.reshape(batch, channels, blocksize**2, height, width).transpose(1, 2).reshape(x.shape)


def along(values: Tensor, axis: int, x: Tensor) -> Tensor:
    """`values`, one for each place of `axis`, in a shape that broadcasts with `x`."""
    return values.reshape(-1, *[1] * (x.ndim - 1 - axis % x.ndim))


def _from_start(indices: Tensor, size: int) -> Tensor:
    """Negative indices count from the end; those that are too large stay so, for torch to refuse."""
    return torch.where(indices < 0, indices + size, indices).long()
