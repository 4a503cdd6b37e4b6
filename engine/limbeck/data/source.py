"""Opens real images wherever they lie, and finds the ones that cannot be read before any network runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from limbeck.data.decode import MAX_PIXELS
from limbeck.data.distilled import is_distilled, read_distilled
from limbeck.data.imagefolder import ImageFolder
from limbeck.data.normalization import Normalization
from limbeck.data.npz import NpzImages
from limbeck.data.parquet import ParquetImages, parquet_files
from limbeck.data.stored import StoredSource
from limbeck.data.tensors import SUFFIXES, RestoredNpz, TensorImages
from limbeck.errors import DataError, UnreadableImagesError
from limbeck.imagenet import SUBSETS

_CHECK_SIZE = 32

_WORKS = (
    "give a folder with one folder a class, a .parquet file or a folder of them, or a .npz, .pt or .safetensors file"
)


def open_source(
    location: str | Path,
    *,
    image_column: str | None = None,
    label_column: str | None = None,
    max_pixels: int = MAX_PIXELS,
    normalization: Normalization | None = None,
    class_names: Sequence[str] | None = None,
) -> StoredSource:
    """Open a folder of class folders, parquet, npz, a file of tensors, or a distilled set; no image is read.

    Args:
        location: The path. A split of a parquet folder or an npz file is chosen by its name after a colon:
            `digits.npz:train`; a run of several in a file of tensors by its number: `mtt.pt:0`; of a folder of
            ImageNet's classes a subset: `imagenet/train:imagewoof`.
        image_column: Parquet only: the column with the images; None finds it.
        label_column: Parquet only: the column with the labels; None finds it.
        max_pixels: The limit on width times height of an image; a larger one counts as unreadable.
        normalization: Tensors and npz only: what was done to the pixels before they were stored.
        class_names: Tensors only: the names in label order; None takes those in the file, or the labels as digits.

    Raises:
        DataError: Nothing is there, it is of no kind that can be read, or it has no class or an empty one.
    """
    columns = {"image_column": image_column, "label_column": label_column}
    try:
        path, split = _path_and_split(location)
        if path.is_file() and path.suffix.lower() in SUFFIXES:
            return TensorImages(
                path, split, class_names=class_names, normalization=normalization, max_pixels=max_pixels
            )
        if class_names is not None:
            takers = ", ".join(SUFFIXES)
            raise DataError(f"class names were given for {path}, and only {takers} files take them; leave them out")
        if normalization is None:
            return _open(location, columns, max_pixels)
        if path.suffix.lower() == ".npz":
            return RestoredNpz(path, split, normalization, max_pixels=max_pixels)
        raise DataError(f"a normalization was given for {path}, which holds pictures; leave it out")
    except OSError as error:
        raise DataError(f"{location} cannot be read: {error.strerror or error}") from error


def unreadable(
    source: StoredSource, *, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> list[tuple[str, str]]:
    """Decode every image once; returns those that cannot be, each with the reason.

    `on_progress` is called with the number done and the total after each image. It may raise to stop.
    """
    total = sum(len(source.names(i)) for i in range(len(source.class_names)))
    found: list[tuple[str, str]] = []
    done = 0
    for class_id in range(len(source.class_names)):
        for name, picture in source.pictures(class_id):
            try:
                source.pixels(name, picture, size=_CHECK_SIZE, fit="squash")
            except UnreadableImagesError as error:
                found += error.files
            done += 1
            on_progress(done, total)
    return found


def check(
    source: StoredSource,
    *,
    skip_unreadable: bool = False,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> StoredSource:
    """Decode every image once; returns the source to use, without the unreadable ones if they may be skipped.

    Raises:
        UnreadableImagesError: Some are unreadable, all of them listed, and they may not be skipped.
        DataError: A class would have no image left.
    """
    found = unreadable(source, on_progress=on_progress)
    if found and not skip_unreadable:
        raise UnreadableImagesError(found)
    return source.without(found)


def _open(location: str | Path, columns: Mapping[str, str | None], max_pixels: int) -> StoredSource:
    path, split = _path_and_split(location)
    name = path.resolve().name
    if path.is_dir() and (shards := parquet_files(path, split)):
        return ParquetImages(shards, f"{name}:{split}" if split else name, **columns, max_pixels=max_pixels)
    if path.suffix.lower() == ".npz":
        return NpzImages(path, split, max_pixels=max_pixels)
    if split and (is_distilled(path) or not path.is_dir() or split not in SUBSETS):
        raise DataError(
            f"nothing at {location}: {path} is there, and has no splits to choose from\n"
            f"of a folder of ImageNet's classes a subset may be chosen: {', '.join(SUBSETS)}"
        )
    if is_distilled(path):
        return read_distilled(path)
    if path.is_dir():
        return ImageFolder(path, subset=split, max_pixels=max_pixels)
    if path.suffix.lower() == ".parquet":
        return ParquetImages([path], name, **columns, max_pixels=max_pixels)
    raise DataError(f"{path} is of no kind that can be read; {_WORKS}")


def _path_and_split(location: str | Path) -> tuple[Path, str | None]:
    path = Path(location)
    if path.exists():
        return path, None
    head, _, split = str(location).rpartition(":")
    if head and split and Path(head).exists():
        return Path(head), split
    raise DataError(f"nothing at {location}; {_WORKS}")
