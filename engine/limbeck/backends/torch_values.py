"""The dtypes that the torch operators know, and how they refuse a value that they do not compute."""

from __future__ import annotations

from collections.abc import Mapping

import torch

DTYPES: Mapping[int, torch.dtype] = {
    1: torch.float32,
    2: torch.uint8,
    3: torch.int8,
    6: torch.int32,
    7: torch.int64,
    9: torch.bool,
    10: torch.float16,
    11: torch.float64,
    16: torch.bfloat16,
}
"""`onnx.TensorProto.DataType` to torch."""


def must_be(name: str, value: object, *known: object) -> None:
    """Refuse a value that an operator has a meaning for, but the function does not compute.

    Raises:
        NotImplementedError: `value` is none of `known`.
    """
    if value not in known:
        raise NotImplementedError(f"{name} is {value}; known: {', '.join(map(str, known))}")
