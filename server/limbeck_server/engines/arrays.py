"""Tensors of the workers' stream to arrays and back."""

from __future__ import annotations

import numpy as np

from limbeck.arrays import Array
from limbeck_server.engines.signature import TEXT
from limbeck_server.engines.texts import split_texts
from limbeck_server.rpc import worker_pb2


def to_array(tensor: worker_pb2.Tensor) -> Array:
    """The elements of a tensor that `check.violations` lets pass, without a copy; texts as an object array of bytes."""
    if tensor.dtype != TEXT:
        little = np.dtype(tensor.dtype).newbyteorder("<")
        found = np.frombuffer(tensor.data, little).reshape(tensor.shape)
        return found.astype(tensor.dtype, copy=False)
    return np.array(list(split_texts(tensor.data)), object).reshape(tensor.shape)


def to_tensor(name: str, array: Array) -> worker_pb2.Tensor:
    """An array of numbers as a tensor."""
    little = array.dtype.newbyteorder("<")
    return worker_pb2.Tensor(
        name=name, dtype=array.dtype.name, shape=array.shape, data=array.astype(little, copy=False).tobytes()
    )
