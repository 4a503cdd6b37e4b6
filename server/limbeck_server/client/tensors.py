"""Arrays, and the messages that carry them."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from limbeck.errors import ConfigError
from limbeck_server.client.errors import ServerError
from limbeck_server.rpc import tensors_pb2
from limbeck_server.wire.refusal import Code, Refusal

Array = NDArray[np.float32]
_FLOAT32 = np.dtype("<f4")


def tensor_of(name: str, value: ArrayLike, *, ndim: int) -> tensors_pb2.Tensor:
    """An array as float32.

    Args:
        name: What it is called, for the error.
        value: The array, or what becomes one.
        ndim: How many dimensions it must have.

    Raises:
        ConfigError: It has others, or is no array of numbers.
    """
    try:
        array = np.ascontiguousarray(value, _FLOAT32)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{name} is no array of numbers: {error}") from error
    if array.ndim != ndim:
        raise ConfigError(f"{name} must have {ndim} dimensions, has {array.ndim}: shape {array.shape}")
    return tensors_pb2.Tensor(dtype=tensors_pb2.DATA_TYPE_FLOAT32, shape=array.shape, data=array.tobytes())


def array_from(tensor: tensors_pb2.Tensor) -> Array:
    """The array in a message.

    Raises:
        ServerError: It is not what the message says.
    """
    shape = tuple(tensor.shape)
    if tensor.dtype != tensors_pb2.DATA_TYPE_FLOAT32 or len(tensor.data) != int(np.prod(shape)) * _FLOAT32.itemsize:
        said = f"type {tensor.dtype}, shape {shape}, {len(tensor.data)} bytes"
        raise ServerError(Refusal(Code.INTERNAL, "BAD_TENSOR", f"the server sent no array: {said}"))
    return np.frombuffer(tensor.data, _FLOAT32).reshape(shape).astype(np.float32)
