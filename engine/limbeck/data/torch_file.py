"""Reads tensors that `torch.save` wrote, without torch, and runs nothing that is in the file.

    set.pt, a zip archive
      set/data.pkl     a pickle: lists, dicts, numbers, and tensors as "storage 0, this shape, these strides"
      set/data/0, …    the storages, plain bytes
      set/byteorder    "little" or "big"

A pickle is a program. Here it may build lists, dicts, text and numbers, and name tensors and storages; any other
name in it is refused. Files older than torch 1.6 (2020) are no archives, and are refused too.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from limbeck.arrays import Array
from limbeck.errors import DataError

DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, OSError)
"""What reading a damaged archive raises."""

_MOST_PICKLE_NBYTES = 16 * 2**20
_DTYPES = {
    "DoubleStorage": "f8",
    "FloatStorage": "f4",
    "HalfStorage": "f2",
    "BFloat16Storage": "u2",
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
# DC stores accuracies beside its images, as NumPy scalars. They are not needed, and nothing of NumPy is called.
_IGNORED = {
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}


class TorchTensor(NamedTuple):
    """A tensor in an archive; its elements are read when they are asked for.

    A named tuple, like all that a pickle gets to see here, because a pickle can set the fields of any other object.

    Args:
        file: The archive.
        member: The storage in it.
        dtype: Of its elements; "u2" for bfloat16.
        brain: Whether they are bfloat16.
        offset: Of the first element in the storage.
        shape: Of the tensor.
        strides: Elements from one index to the next, for each dimension.
    """

    file: Path
    member: str
    dtype: np.dtype[Any]
    brain: bool
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def rows(self, rows: Iterable[int]) -> Iterator[Array]:
        """These rows of the first dimension, one held at a time.

        Raises:
            DataError: The storage is damaged.
        """
        try:
            with zipfile.ZipFile(self.file) as archive, archive.open(self.member) as storage:
                for row in rows:
                    yield self._read(storage, self.offset + row * self.strides[0], self.shape[1:], self.strides[1:])
        except DAMAGED as error:
            raise DataError(f"{self.file}: '{self.member}' is damaged: {error}") from error

    def values(self) -> Array:
        """All of it.

        Raises:
            DataError: The storage is damaged.
        """
        try:
            with zipfile.ZipFile(self.file) as archive, archive.open(self.member) as storage:
                return self._read(storage, self.offset, self.shape, self.strides)
        except DAMAGED as error:
            raise DataError(f"{self.file}: '{self.member}' is damaged: {error}") from error

    def _read(self, storage: Any, start: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> Array:
        size, extent = self.dtype.itemsize, _extent(shape, strides)
        storage.seek(start * size)
        elements = np.frombuffer(storage.read(extent * size), self.dtype)
        if len(elements) < extent:
            raise ValueError("it ends before the tensor does")
        if self.brain:
            elements = (elements.astype(np.uint32) << 16).view(np.float32)
        steps = [stride * elements.itemsize for stride in strides]
        return np.lib.stride_tricks.as_strided(elements, shape, steps, writeable=False)


def read_torch_file(file: Path) -> Any:
    """What was saved, with a `TorchTensor` in place of every tensor.

    Raises:
        DataError: It is no archive of `torch.save`, damaged, or has something in it that is neither data nor a tensor.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            (pickled,) = [info for info in archive.infolist() if info.filename.split("/")[1:] == ["data.pkl"]]
            if pickled.file_size > _MOST_PICKLE_NBYTES:
                raise DataError(
                    f"{file} has {pickled.file_size:,} bytes beside its tensors; {_MOST_PICKLE_NBYTES:,} fit"
                )
            return _Reader(file, archive, pickled).load()
    except DAMAGED as error:
        raise DataError(
            f"{file} cannot be read as an archive of torch.save: {error}\n"
            "files older than torch 1.6 are none: load and save them again with a newer torch"
        ) from error


class _Reader(pickle.Unpickler):
    """Builds data, and nothing else."""

    def __init__(self, file: Path, archive: zipfile.ZipFile, pickled: zipfile.ZipInfo) -> None:
        program = archive.read(pickled)
        _refuse_large_memo(program)
        super().__init__(io.BytesIO(program))
        self._file = file
        self._root = pickled.filename.removesuffix("data.pkl")
        self._nbytes = {info.filename: info.file_size for info in archive.infolist()}
        self._order = ">" if self._is_big_endian(archive) else "<"

    def _is_big_endian(self, archive: zipfile.ZipFile) -> bool:
        member = f"{self._root}byteorder"
        if member not in self._nbytes:
            return False
        with archive.open(member) as said:
            return said.read(8) == b"big"

    def load(self) -> Any:
        try:
            return super().load()
        except DataError:
            raise
        except Exception as error:  # an unpickler raises whatever a damaged program makes it raise
            raise ValueError(f"{type(error).__name__}: {error}") from error

    def find_class(self, module: str, name: str) -> Any:
        if module in ("torch", "torch.storage") and name in _DTYPES:
            return _StorageKind(name)
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _RebuildTensor()
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return _RebuildParameter()
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) in _IGNORED:
            return _Ignored()
        raise DataError(
            f"{self._file} wants to run {module}.{name}; only tensors, lists, dicts, text and numbers are read. If you "
            "trust the file, load it with torch and save images and labels alone: "
            "torch.save({'images': images, 'labels': labels}, 'set.pt')"
        )

    def persistent_load(self, pid: Any) -> _Storage:
        _, kind, key, _, _ = pid
        member = f"{self._root}data/{key}"
        if not isinstance(kind, _StorageKind) or member not in self._nbytes:
            raise ValueError(f"it refers to a storage that is not there: {pid!r:.200}")
        dtype = np.dtype(self._order + _DTYPES[kind.name])
        return _Storage(self._file, member, dtype, kind.name == "BFloat16Storage", self._nbytes[member])


class _StorageKind(NamedTuple):
    name: str


class _Storage(NamedTuple):
    file: Path
    member: str
    dtype: np.dtype[Any]
    brain: bool
    nbytes: int


class _RebuildTensor:
    __slots__ = ()

    def __call__(
        self, storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: object
    ) -> TorchTensor:
        if not isinstance(storage, _Storage):
            raise ValueError(f"a tensor has {type(storage).__name__} for its storage")
        numbers = (offset, *shape, *strides)
        if len(shape) != len(strides) or not all(type(number) is int and number >= 0 for number in numbers):
            raise ValueError(f"a tensor has offset {offset}, shape {shape} and strides {strides}")
        if (offset + _extent(shape, strides)) * storage.dtype.itemsize > storage.nbytes:
            raise ValueError(f"a tensor of shape {shape} leaves its storage of {storage.nbytes} bytes")
        return TorchTensor(
            storage.file, storage.member, storage.dtype, storage.brain, offset, tuple(shape), tuple(strides)
        )


class _RebuildParameter:
    __slots__ = ()

    def __call__(self, tensor: TorchTensor, *_: object) -> TorchTensor:
        return tensor


class _Ignored:
    __slots__ = ()

    def __call__(self, *_: object) -> _Ignored:
        return self

    def __setstate__(self, state: object) -> None:
        """Whatever it is."""


def _extent(shape: tuple[int, ...], strides: tuple[int, ...]) -> int:
    """Elements from a tensor's first to its last."""
    if 0 in shape:
        return 0
    return 1 + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))


def _refuse_large_memo(program: bytes) -> None:
    """A memo is a list that the unpickler makes as long as the largest number in the program says."""
    for opcode, argument, _ in pickletools.genops(program):
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(argument or 0) > len(program):
            raise ValueError(f"its pickle remembers {argument} things in {len(program)} bytes")
