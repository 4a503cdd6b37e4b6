"""Named arrays as bytes and back: what a unit reached, and what belongs to a distilled set beside its images.

NumPy's npz without pickles, after its own digest, so that a torn file is noticed. The bytes depend on the arrays alone.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limbeck.errors import DataError

NamedArrays = Mapping[str, NDArray[Any]]

_DIGEST_NBYTES = 32


def npz(arrays: NamedArrays) -> bytes:
    """The content of an npz file, names sorted."""
    stream = io.BytesIO()
    np.savez(stream, allow_pickle=False, **{name: np.asarray(arrays[name]) for name in sorted(arrays)})
    return stream.getvalue()


def from_npz(content: bytes) -> NamedArrays:
    """The arrays of an npz file.

    Raises:
        DataError: It is none, or has objects in it.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (ValueError, OSError, EOFError, KeyError) as error:
        raise DataError("this is no npz file of plain arrays") from error


def sealed(arrays: NamedArrays) -> bytes:
    """As `npz`, after its digest."""
    content = npz(arrays)
    return hashlib.sha256(content).digest() + content


def unsealed(content: bytes) -> NamedArrays:
    """What `sealed` was given.

    Raises:
        DataError: The digest is another.
    """
    if hashlib.sha256(content[_DIGEST_NBYTES:]).digest() != content[:_DIGEST_NBYTES]:
        raise DataError("its digest is another than when it was written")
    return from_npz(content[_DIGEST_NBYTES:])
