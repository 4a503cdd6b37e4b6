"""Parquet as the Hugging Face hub lays it out: an image column of encoded bytes and a label column.

    train.parquet                              one file
    folder/data/train-00000-of-00002.parquet   shards, in a folder or in its `data` folder

Only the labels are held. Images are read when their class is asked for: the row groups that have rows of it, page
by page (pyarrow writes up to 1024 rows to a page, and no more than a row group has: 100 in files of the hub). So a
file that is sorted by label is read once for all classes, a shuffled one once a class.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from limbeck.arrays import Array, ClassIds
from limbeck.data.decode import MAX_PIXELS
from limbeck.data.parquet_columns import Columns, find_columns
from limbeck.data.stored import StoredSource
from limbeck.errors import DataError, SplitsError

_READ_NBYTES = 8 * 2**20
_SHARD = re.compile(r"(.+)-\d{5}-of-\d{5}$")
_SPLIT = re.compile(r"(?:^|[-_.])(train|training|test|testing|val|valid|validation|dev|eval)(?:[-_.\d]|$)")


class ParquetImages(StoredSource):
    """Images and labels in parquet files of one schema.

    Labels are integers, named by the schema or by their digits, or strings, which are the classes' names, sorted.
    """

    kind: ClassVar[str] = "parquet"

    def __init__(
        self,
        files: Sequence[Path],
        location: str,
        *,
        image_column: str | None = None,
        label_column: str | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        """Read the labels of `files`, and no image.

        Args:
            files: At least one, in the order of their rows.
            location: What the manifest calls them.
            image_column: The column with the images; None finds it.
            label_column: The column with the labels; None finds it.
            max_pixels: The limit on width times height of an image.

        Raises:
            DataError: pyarrow is missing, a file is damaged, a column is not there or not clear, a label is missing
                or has no name, or a class has no image.
        """
        self._files = tuple(files)
        columns = find_columns(_open(files[0]).schema_arrow, files[0], image_column, label_column)
        self._image_column = columns.image
        labels = [_read_labels(file, columns) for file in files]
        names = columns.class_names
        if labels[0].dtype.kind == "U":
            names = names or tuple(np.unique(np.concatenate(labels)).tolist())
            labels = [_ids(values, names, file) for values, file in zip(labels, files, strict=True)]
        highest = max((int(values.max()) for values in labels if values.size), default=-1)
        names = names or tuple(str(i) for i in range(highest + 1))
        if not 0 <= highest < len(names):
            found = f"the highest label is {highest}" if highest >= 0 else "there is no row"
            raise DataError(f"{location} has {len(names)} class names, and {found}")
        super().__init__(location, names, max_pixels=max_pixels)
        self._labels: list[ClassIds] = labels
        self.refuse_empty_classes("leave its name out of the file's class names, or add images of it")

    def stored_names(self, class_id: int) -> Sequence[str]:
        return [
            f"{file.name}#{row}"
            for file, labels in zip(self._files, self._labels, strict=True)
            for row in np.flatnonzero(labels == class_id)
        ]

    def stored_pictures(self, class_id: int) -> Iterator[bytes]:
        for file, labels in zip(self._files, self._labels, strict=True):
            try:
                yield from self._read(file, np.flatnonzero(labels == class_id))
            except (OSError, ValueError) as error:  # what pyarrow's errors derive from
                raise DataError(f"{file} is damaged: {error}") from error

    def _read(self, file: Path, rows: Array) -> Iterator[bytes]:
        """The images of these rows, ascending, reading only the row groups they lie in."""
        opened = _open(file)
        start = 0
        for group in range(opened.num_row_groups):
            info = opened.metadata.row_group(group)
            wanted = rows[(rows >= start) & (rows < start + info.num_rows)] - start
            start += info.num_rows
            if not wanted.size:
                continue
            row_nbytes = max(info.total_byte_size // info.num_rows, 1)
            batch = int(np.clip(_READ_NBYTES // row_nbytes, 1, 1024))
            passed = 0
            for read in opened.iter_batches(batch, row_groups=[group], columns=[self._image_column]):
                column = read.column(0)
                for row in wanted[(wanted >= passed) & (wanted < passed + len(column))] - passed:
                    yield _encoded(column[int(row)].as_py())
                passed += len(column)
                if passed > wanted[-1]:
                    break


def parquet_files(folder: Path, split: str | None) -> list[Path]:
    """The parquet files of `folder` or of its `data` folder, sorted; [] if it has none.

    Raises:
        DataError: They are of several splits and `split` is None, or it is none of them.
    """
    files = sorted(folder.glob("*.parquet")) or sorted((folder / "data").glob("*.parquet"))
    by_split: dict[str, list[Path]] = {}
    for file in files:
        by_split.setdefault(_split(file.stem), []).append(file)
    if not files or (split is None and len(by_split) == 1):
        return files
    if split in by_split:
        return by_split[split]
    choices = ", ".join(f"{folder}:{name}" for name in by_split if name) or f"{folder}, which has no splits"
    loose = [file.name for file in by_split.get("", [])]
    if split is None:
        files_too = f", or one of the files {', '.join(loose)}" if loose else ""
        named = [name for name in by_split if name]
        raise SplitsError(f"{folder} holds several splits; give one of them: {choices}{files_too}", named)
    raise DataError(f"{folder} has no split '{split}'; give {choices}")


def _split(stem: str) -> str:
    """The split a file belongs to by its name, "" if the name does not say."""
    if shard := _SHARD.match(stem):
        return shard[1]
    named = _SPLIT.search(stem)
    return named[1] if named else ""


def _open(file: Path) -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise DataError(f"reading {file.name} needs the 'pyarrow' package: pip install 'limbeck[parquet]'") from error
    try:
        # Streamed through a small buffer; without one, pyarrow holds the whole column of a row group.
        return pyarrow.parquet.ParquetFile(file, buffer_size=2**20, pre_buffer=False)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{file} cannot be read as parquet: {error}") from error


def _read_labels(file: Path, columns: Columns) -> Array:
    """The label column: int64, or strings. One kind in all files, because a parquet column has one type."""
    opened = _open(file)
    for column in (columns.image, columns.label):
        if column not in opened.schema_arrow.names:
            raise DataError(f"{file} has no column '{column}', which the first file has")
    values = np.array(opened.read(columns=[columns.label]).column(0).to_pylist())
    if values.size and values.dtype.kind not in "biuU":
        raise DataError(f"{file}: labels in '{columns.label}' must be integers or strings, and none may be missing")
    if values.dtype.kind == "U":
        return values
    ids = values.astype(np.int64)
    if (ids < 0).any():
        row = int(np.argmax(ids < 0))
        raise DataError(f"{file}: row {row} has the label {ids[row]}, which says that it has none; leave such rows out")
    return ids


def _ids(values: Array, names: Sequence[str], file: Path) -> ClassIds:
    ids = {name: i for i, name in enumerate(names)}
    unknown = [str(value) for value in np.unique(values) if str(value) not in ids]
    if unknown:
        raise DataError(f"{file}: label '{unknown[0]}' is none of the {len(names)} class names in the first file")
    return np.array([ids[str(value)] for value in values], np.int64)


def _encoded(value: Any) -> bytes:
    """The bytes of an image cell: binary, or a struct of `bytes` and `path`; empty where it has none."""
    data = value.get("bytes") if isinstance(value, dict) else value
    return data if isinstance(data, bytes) else b""
