"""Texts as one run of bytes, each after its length (four bytes, little-endian): the Open Inference Protocol's BYTES."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

_LENGTH = struct.Struct("<I")


def join_texts(texts: Iterable[bytes]) -> bytes:
    """All texts as one."""
    return b"".join(_LENGTH.pack(len(text)) + text for text in texts)


def split_texts(data: bytes) -> Iterator[bytes]:
    """The texts in `data`.

    Raises:
        ValueError: When it comes to something that is no length with as many bytes after it.
    """
    at = 0
    while at < len(data):
        begin = at + _LENGTH.size
        end = begin + _LENGTH.unpack_from(data, at)[0] if begin <= len(data) else begin
        if end > len(data):
            raise ValueError(f"the text at byte {at} of {len(data)} is cut off")
        yield data[begin:end]
        at = end
