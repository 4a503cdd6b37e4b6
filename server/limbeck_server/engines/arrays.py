"""Tensors of the workers' stream to arrays and back."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from limbeck.arrays import Array
from limbeck_server.engines.signature import TEXT
from limbeck_server.rpc import worker_pb2

_LENGTH = struct.Struct("<I")


def to_array(tensor: worker_pb2.Tensor) -> Array:
    """The elements of a tensor that `check.violations` has nothing against, without a copy; texts as an object array."""
    if tensor.dtype != TEXT:
        little = np.dtype(tensor.dtype).newbyteorder("<")
        found = np.frombuffer(tensor.data, little).reshape(tensor.shape)
        return found.astype(tensor.dtype, copy=False)
    texts = np.empty(len(list(_texts(tensor.data))), object)
    texts[:] = list(_texts(tensor.data))
    return texts.reshape(tensor.shape)


def to_tensor(name: str, array: Array) -> worker_pb2.Tensor:
    """An array of numbers as a tensor."""
    little = array.dtype.newbyteorder("<")
    return worker_pb2.Tensor(
        name=name, dtype=array.dtype.name, shape=array.shape, data=array.astype(little, copy=False).tobytes()
    )


def text_tensor(name: str, texts: Sequence[str]) -> worker_pb2.Tensor:
    """Texts as a tensor of one dimension."""
    return worker_pb2.Tensor(
        name=name, dtype=TEXT, shape=[len(texts)], data=joined_texts(text.encode() for text in texts)
    )


def joined_texts(texts: Iterable[bytes]) -> bytes:
    """Texts one after the other, each after its length."""
    return b"".join(_LENGTH.pack(len(text)) + text for text in texts)


def _texts(data: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        (length,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        yield data[at : at + length]
        at += length
