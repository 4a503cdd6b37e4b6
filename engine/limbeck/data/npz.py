"""NumPy archives: one array of images, one of labels.

    numpy.savez("set.npz", images=images, labels=labels, class_names=["cat", "dog"])

Also `x`/`y`, `data`/`labels` and the like, and several splits in a file: `x_train`, `y_train`, `train_images`,
`train_labels`. Images are read row by row from the archive: a compressed array is inflated as it passes and never
held, at the price of one pass a class, and one that `numpy.savez` stored plainly costs no more than a seek.
Nothing is unpickled.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, ClassVar

import numpy as np
from numpy.lib import format as npy

from limbeck.arrays import Array, ClassIds
from limbeck.data.decode import MAX_PIXELS
from limbeck.data.stored import StoredSource
from limbeck.errors import DataError, SplitsError

_PAIRS = (
    ("images", "labels"),
    ("image", "label"),
    ("imgs", "labels"),
    ("data", "labels"),
    ("data", "label"),
    ("data", "targets"),
    ("x", "y"),
    ("X", "y"),
    ("X", "Y"),
)
_CLASS_NAMES = ("class_names", "classes", "label_names")
_CHANNELS = (1, 3, 4)
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, OSError)


class NpzImages(StoredSource):
    """Images and labels in a `.npz` file.

    Images are uint8, or float in [0, 1], of shape (n, h, w), (n, h, w, 1 | 3 | 4) or (n, 1 | 3 | 4, h, w); where both
    of the last two fit, channels are last. Labels are integers, or strings, which are the classes' names, sorted.
    """

    kind: ClassVar[str] = "npz"

    def __init__(self, file: Path, split: str | None = None, *, max_pixels: int = MAX_PIXELS) -> None:
        """Read the labels of `file`, and no image.

        Args:
            file: The archive.
            split: Which of several splits: the `train` of `x_train`. None where there is one.
            max_pixels: The limit on width times height of an image.

        Raises:
            DataError: Damaged, no pair of images and labels, several of them, or shapes, types or labels that do
                not fit.
        """
        self._file = file
        try:
            with zipfile.ZipFile(file) as members, np.load(file, allow_pickle=False) as archive:
                images, labels = _pair(archive.files, file, split)
                values = archive[labels]
                stated = next((archive[key] for key in _CLASS_NAMES if key in archive.files), None)
                self._member = f"{images}.npy"
                with members.open(self._member) as member:
                    self._layout = _Layout.read(member)
        except _DAMAGED as error:
            raise DataError(f"{file} cannot be read as an npz archive: {error}") from error
        self._channels_first = _channels_first(self._layout, images, file)
        if values.shape not in [(self._layout.shape[0],), (self._layout.shape[0], 1)]:
            raise DataError(f"{file}: '{images}' has shape {self._layout.shape}, and '{labels}' {values.shape}")
        names, self._ids = _classes(values.reshape(-1), stated, labels, file)
        super().__init__(f"{file.name}:{split}" if split else file.name, names, max_pixels=max_pixels)
        self.refuse_empty_classes("number the labels from 0 without a gap, or name the classes that are there")

    def stored_names(self, class_id: int) -> Sequence[str]:
        return [f"{self._file.name}#{row}" for row in np.flatnonzero(self._ids == class_id)]

    def stored_pictures(self, class_id: int) -> Iterator[Array]:
        try:
            with zipfile.ZipFile(self._file) as archive, archive.open(self._member) as member:
                for row in np.flatnonzero(self._ids == class_id):
                    image = self._layout.row(member, int(row))
                    yield image.transpose(1, 2, 0) if self._channels_first else image
        except _DAMAGED as error:
            raise DataError(f"{self._file}: '{self._member}' is damaged: {error}") from error


@dataclass(frozen=True)
class _Layout:
    """Where the rows of an array lie in its `.npy` stream."""

    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    fortran: bool
    start: int

    @classmethod
    def read(cls, member: IO[bytes]) -> _Layout:
        version = npy.read_magic(member)
        header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = header(member)
        return cls(shape, dtype, fortran, member.tell())

    def row(self, member: IO[bytes], row: int) -> Array:
        nbytes = math.prod(self.shape[1:]) * self.dtype.itemsize
        member.seek(self.start + row * nbytes)
        return np.frombuffer(member.read(nbytes), self.dtype).reshape(self.shape[1:])


def _pair(keys: Sequence[str], file: Path, split: str | None) -> tuple[str, str]:
    found = _pairs(keys)
    if split is None and "" in found:
        return found[""]
    if split is None and len(found) == 1:
        return next(iter(found.values()))
    if split is not None and split in found:
        return found[split]
    if not found:
        raise DataError(
            f"{file} has no arrays of images and labels that go together; it has: {', '.join(keys)}\n"
            "names that work: images and labels, x and y, x_train and y_train, train_images and train_labels"
        )
    choices = ", ".join(f"{file}:{name}" if name else str(file) for name in found)
    if split is None:
        raise SplitsError(f"{file} has several splits; give {choices}", [*found])
    raise DataError(f"{file} has no split {split!r}; give {choices}")


def _pairs(keys: Sequence[str]) -> Mapping[str, tuple[str, str]]:
    """The arrays of images and labels of each split, "" for those without one."""
    found: dict[str, tuple[str, str]] = {}
    for images, labels in _PAIRS:
        for key in keys:
            head, stem, tail = key.partition(images)
            partner = f"{head}{labels}{tail}"
            if stem and head[-1:] in ("", "_") and tail[:1] in ("", "_") and partner in keys:
                found.setdefault((head + tail).strip("_"), (key, partner))
    return found


def _channels_first(layout: _Layout, key: str, file: Path) -> bool:
    shape, dtype = layout.shape, layout.dtype
    if dtype != np.uint8 and dtype.kind != "f":
        raise DataError(f"{file}: '{key}' is {dtype}; images must be uint8, or float in [0, 1]")
    if layout.fortran:
        raise DataError(f"{file}: '{key}' is in Fortran order, so its images do not lie together; save a C-order copy")
    if len(shape) == 3 or (len(shape) == 4 and shape[3] in _CHANNELS):
        return False
    if len(shape) == 4 and shape[1] in _CHANNELS:
        return True
    raise DataError(f"{file}: '{key}' has shape {shape}; (n, h, w), (n, h, w, 1|3|4) or (n, 1|3|4, h, w) can be read")


def _classes(values: Array, stated: Array | None, key: str, file: Path) -> tuple[Sequence[str], ClassIds]:
    names = [str(name) for name in stated] if stated is not None else None
    if values.dtype.kind == "U" and names is None:
        unique, ids = np.unique(values, return_inverse=True)
        return [str(name) for name in unique], ids.astype(np.int64)
    if values.dtype.kind not in "iu" or not values.size or values.min() < 0:
        raise DataError(f"{file}: '{key}' must hold labels as integers from 0, or as strings; it is {values.dtype}")
    highest = int(values.max())
    names = names or [str(i) for i in range(highest + 1)]
    if highest >= len(names):
        raise DataError(f"{file}: '{key}' goes up to {highest}, and there are {len(names)} class names")
    return names, values.astype(np.int64)
