"""Distilled sets as tensor files, in the layouts that released code writes.

    .pt, .pth       (images, labels), or {"images": …, "labels": …}, or {"data": [[images, labels], …]}, one pair a run
    .safetensors    tensors called images and labels

Images are (n, c, h, w), labels integers of shape (n,). Files of torch are read without torch (`torch_file`), and images
row by row. Normalized pixels are brought back (`normalization`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from limbeck.arrays import Array, ClassIds
from limbeck.data.decode import MAX_PIXELS
from limbeck.data.normalization import Normalization, Restored
from limbeck.data.npz import NpzImages
from limbeck.data.torch_file import TorchTensor, read_torch_file
from limbeck.errors import DataError, SplitsError

SUFFIXES = (".pt", ".pth", ".safetensors")

_PAIRS = (("images", "labels"), ("image", "label"), ("image_syn", "label_syn"), ("data", "labels"), ("x", "y"))
_CLASS_NAMES = ("class_names", "classes")
_CHANNELS = (1, 3)
_LAYOUTS = (
    'layouts that work: (images, labels), {"images": …, "labels": …}, {"data": [[images, labels]]}; save both together'
)


class RestoredNpz(Restored, NpzImages):
    """An npz archive of normalized pixels."""

    def __init__(
        self, file: Path, split: str | None, normalization: Normalization, *, max_pixels: int = MAX_PIXELS
    ) -> None:
        """As `NpzImages`."""
        super().__init__(file, split, max_pixels=max_pixels)
        self.normalization = normalization


class TensorImages(Restored):
    """Images and labels in a file of tensors."""

    kind: ClassVar[str] = "tensors"

    def __init__(
        self,
        file: Path,
        split: str | None = None,
        *,
        class_names: Sequence[str] | None = None,
        normalization: Normalization | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        """Read the labels of `file`, and no image.

        Args:
            file: The file.
            split: Which of several pairs, counted from 0; None where there is one.
            class_names: In label order; None takes those in the file, or the labels as digits.
            normalization: Of the pixels; None if they lie in [0, 1] or are bytes.
            max_pixels: The limit on width times height of an image.

        Raises:
            DataError: Damaged, of another layout, or with labels that do not fit images or names.
        """
        self._file = file
        content = _safetensors(file) if file.suffix.lower() == ".safetensors" else read_torch_file(file)
        self._images, labels = _pair(content, file, split)
        self._channels_first = _channels_first(self._images.shape, file)
        self._ids = _class_ids(labels, self._images.shape[0], file)
        self.normalization = normalization
        names = _names(content, class_names, self._ids, file)
        super().__init__(f"{file.name}:{split}" if split else file.name, names, max_pixels=max_pixels)
        self.refuse_empty_classes("number the labels from 0 without a gap, and name the classes that are there")

    def stored_names(self, class_id: int) -> Sequence[str]:
        return [f"{self._file.name}#{row}" for row in np.flatnonzero(self._ids == class_id)]

    def stored_pictures(self, class_id: int) -> Iterator[Array]:
        for image in self._images.rows(np.flatnonzero(self._ids == class_id).tolist()):
            yield image.transpose(1, 2, 0) if self._channels_first else image


class _Tensor(Protocol):
    """What `TorchTensor` is."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def rows(self, rows: Iterable[int]) -> Iterator[Array]: ...

    def values(self) -> Array: ...


@dataclass(frozen=True)
class _SafeTensor:
    """A tensor in a `.safetensors` file."""

    file: Path
    name: str
    shape: tuple[int, ...]

    def rows(self, rows: Iterable[int]) -> Iterator[Array]:
        with _safe_open(self.file) as tensors:
            part = tensors.get_slice(self.name)
            for row in rows:
                yield part[row : row + 1][0]

    def values(self) -> Array:
        with _safe_open(self.file) as tensors:
            return np.asarray(tensors.get_tensor(self.name))


def _safe_open(file: Path) -> Any:
    try:
        from safetensors import safe_open
    except ImportError as error:
        raise DataError(
            "a .safetensors file needs the 'safetensors' package: pip install 'limbeck[tensors]'"
        ) from error
    return safe_open(file, "np")


def _safetensors(file: Path) -> dict[str, Any]:
    """The tensors by name, and the class names where the metadata has them, as JSON."""
    try:
        with _safe_open(file) as tensors:
            content: dict[str, Any] = {
                name: _SafeTensor(file, name, tuple(tensors.get_slice(name).get_shape()))
                for name in tensors.keys()  # noqa: SIM118 - it is no dict
            }
            metadata = tensors.metadata() or {}
            return content | {key: json.loads(metadata[key]) for key in _CLASS_NAMES if key in metadata}
    except DataError:
        raise
    except Exception as error:  # safetensors raises a class of its own that is no part of its interface
        raise DataError(f"{file} cannot be read as safetensors: {error}") from error


def _pair(content: Any, file: Path, split: str | None) -> tuple[_Tensor, Any]:
    found = _pairs(content)
    if not found:
        has = f"a dict with {', '.join(map(str, content))}" if isinstance(content, dict) else type(content).__name__
        raise DataError(f"{file} has no images and labels that go together; it holds {has}\n{_LAYOUTS}")
    if split is None and len(found) == 1:
        return found[0]
    if split is not None and split.isdecimal() and int(split) < len(found):
        return found[int(split)]
    choices = f"{file}:0 to {file}:{len(found) - 1}"
    message = f"{file} has {len(found)} pairs of images and labels; give one of {choices}"
    raise DataError(message) if split is not None else SplitsError(message, [*map(str, range(len(found)))])


def _pairs(content: Any) -> list[tuple[_Tensor, Any]]:
    if isinstance(content, dict):
        for images, labels in _PAIRS:
            if images in content and labels in content:
                return _pairs([content[images], content[labels]])
        runs = content.get("data", [])
        return [pair for run in runs for pair in _pairs(run)] if isinstance(runs, list | tuple) else []
    if isinstance(content, list | tuple) and len(content) == 2 and isinstance(content[0], TorchTensor | _SafeTensor):
        return [(content[0], content[1])]
    return []


def _channels_first(shape: tuple[int, ...], file: Path) -> bool:
    if len(shape) == 4 and shape[1] in _CHANNELS:
        return True
    if len(shape) == 3 or (len(shape) == 4 and shape[3] in _CHANNELS):
        return False
    raise DataError(f"{file}: the images have shape {shape}; (n, 1|3, h, w), (n, h, w, 1|3) or (n, h, w) can be read")


def _class_ids(labels: Any, num_images: int, file: Path) -> ClassIds:
    values = labels.values() if isinstance(labels, TorchTensor | _SafeTensor) else np.asarray(labels)
    if values.shape not in [(num_images,), (num_images, 1)]:
        soft = "; soft labels cannot be read, store the class ids" if values.ndim == 2 else ""
        raise DataError(f"{file}: {num_images} images, and labels of shape {values.shape}{soft}")
    if values.dtype.kind not in "iu" or not values.size or values.min() < 0:
        raise DataError(f"{file}: labels must be integers from 0, one an image; they are {values.dtype}")
    return values.reshape(-1).astype(np.int64)


def _names(content: Any, given: Sequence[str] | None, ids: ClassIds, file: Path) -> Sequence[str]:
    if given is None and isinstance(content, dict):
        given = next((content[key] for key in _CLASS_NAMES if key in content), None)
    highest = int(ids.max())
    names = [str(label) for label in range(highest + 1)] if given is None else [str(name) for name in given]
    if highest >= len(names):
        raise DataError(f"{file}: the labels go up to {highest}, and there are {len(names)} class names")
    return names
