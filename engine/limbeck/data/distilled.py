"""The distilled set on disk: an ImageFolder that says of every image where it comes from.

    distilled/
      train/<class folder>/0000.png    folders sort in label order (`naming`)
      train/metadata.jsonl             a row an image: file, label, class, seed, index, digest, what the method adds
      manifest.json                    what it was made from and how; the digests of the other files
      README.md                        the dataset card (`card`)
      preview.png                      to look at
      arrays.npz                       what the method made beside images, such as a classifier; few methods do

The bytes depend on the images and the header alone: no time, host or path goes in, so that two runs of the same job
can be compared file by file. The one exception is `memory` in the manifest, which says what this run took.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Self

from PIL import Image

from limbeck import __version__
from limbeck.arrays import Images
from limbeck.data.arrays_file import NamedArrays, from_npz, npz
from limbeck.data.card import card
from limbeck.data.layout import ARRAYS, FORMAT, MANIFEST, METADATA, SetManifest, read_manifest, read_rows
from limbeck.data.naming import class_folders
from limbeck.data.partial import OnImage, PartialSet, Row
from limbeck.data.preview import preview
from limbeck.data.stored import StoredSource
from limbeck.data.unit import EncodedUnit, UnitLayout, encode_png
from limbeck.data.verify import verify_distilled
from limbeck.durable import disk_errors_explained, disk_nbytes, sync_folder, write_whole
from limbeck.errors import ConfigError, DataError, OutputError

__all__ = ["MANIFEST", "DistilledSet", "DistilledWriter", "is_distilled", "read_distilled", "verify_distilled"]


class DistilledWriter:
    """Writes a distilled set unit by unit; `finish` puts it in its place. Use it by `with`: the end frees the lock."""

    def __init__(self, out: Path, partial: PartialSet, header: Mapping[str, Any]) -> None:
        """Use `DistilledWriter.start`."""
        self.out = out
        self.resumed = bool(partial.units)
        """Whether units of an earlier run were found."""
        self._partial = partial
        self._header = header
        self._names: Sequence[str] = header["class_names"]
        self.layout = UnitLayout(self._names, header["class_folders"], header["ipc"])
        """How its units are encoded."""
        self._written: set[int] = {row["label"] for rows in partial.units.values() for row in rows}

    @classmethod
    def start(
        cls,
        out: str | Path,
        header: Mapping[str, object],
        *,
        class_names: Sequence[str],
        ipc: int,
        num_units: int,
        resume: bool = False,
    ) -> Self:
        """Begin a distilled set, or continue one.

        Args:
            out: The folder to be made.
            header: What the manifest says of how it is made: JSON values that decide the result (method, pack,
                engines, source, skipped images, …), no time, no host, no absolute path.
            class_names: In label order.
            ipc: Images per class.
            num_units: How many units make it whole.
            resume: Continue what an earlier run left; with nothing there, it starts afresh.

        Raises:
            OutputError: `out` exists, an unfinished run is there and `resume` is False, another process writes it,
                or it was started with another header; each with what to do.
            ConfigError: The header has a key that the manifest itself uses.
        """
        if taken := sorted(SetManifest.model_fields.keys() & header.keys()):
            raise ConfigError(f"the manifest itself says {', '.join(taken)}; the header must not")
        # As it reads back, so that a tuple is not taken for a change.
        whole: dict[str, Any] = json.loads(
            json.dumps(
                {
                    **header,
                    "format": FORMAT,
                    "limbeck": __version__,
                    "class_names": list(class_names),
                    "class_folders": class_folders(class_names),
                    "ipc": ipc,
                    "num_units": num_units,
                }
            )
        )
        place = Path(out).absolute()
        return cls(place, PartialSet.start(place, whole, resume=resume), whole)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def finished_units(self) -> set[int]:
        """The units that are on disk, whole."""
        return set(self._partial.units)

    def write_unit(
        self,
        unit: int,
        images: Images,
        class_ids: Sequence[int],
        rows: Sequence[Mapping[str, object]] = (),
        arrays: NamedArrays = MappingProxyType({}),
    ) -> None:
        """Store a finished unit; when this returns, it survives a crash.

        Args:
            unit: Its index, 0..num_units-1; any order. A class belongs to one unit.
            images: Shape (n, 3, height, width), in [0, 1]; stored as 8-bit PNG, rounded to nearest.
            class_ids: The label of each, `ipc` of every class among them.
            rows: What the method says of each: scalars or lists of scalars, the same keys for every image. It cannot
                change `file_name`, `label`, `class_name` and `sha256`.
            arrays: What the unit has beside images; no other unit has arrays of these names.

        Raises:
            OutputError: The disk is full or refuses, the images are not finite, or they do not fit what was started.
        """
        self.store_unit(self.layout.encode(unit, images, class_ids, rows, arrays))

    def store_unit(self, unit: EncodedUnit, *, on_image: OnImage = lambda done, total: None) -> None:
        """Store a unit that was encoded before, as by another process; when this returns, it survives a crash.

        Args:
            unit: Its images, as files.
            on_image: Called after each; it may raise to stop, and nothing of the unit is kept then.

        Raises:
            OutputError: The disk is full or refuses, or the unit does not fit what was started.
        """
        self._refuse_misfit(unit)
        self._partial.store(unit.index, unit.files, unit.rows, unit.arrays, on_image=on_image)
        self._written |= {row["label"] for row in unit.rows}

    def write_checkpoint(self, unit: int, state: NamedArrays) -> None:
        """Keep the state of a unit that is under way, in place of an earlier one; it then survives a crash.

        Raises:
            OutputError: The disk is full or refuses.
        """
        self._partial.store_checkpoint(unit, state)

    def checkpoint(self, unit: int) -> NamedArrays | None:
        """The state that an earlier run kept of a unit; None if there is none, or the file is damaged."""
        return self._partial.checkpoint(unit)

    def finish(self, *, memory: Mapping[str, object] | None = None) -> Path:
        """Write metadata, card, preview and manifest, and move the set to its place, which is returned.

        Args:
            memory: What the run was predicted to take and what it took, for the manifest; JSON values.

        Raises:
            OutputError: Units or images are missing, its place was taken meanwhile, or the disk refuses.
        """
        missing = sorted(set(range(self._header["num_units"])) - self.finished_units())
        if missing:
            raise OutputError(
                f"{len(missing)} of {self._header['num_units']} units are missing, the first is {missing[0]}"
            )
        counts = Counter(row["label"] for unit in self._partial.units.values() for row in unit)
        if wrong := [i for i in range(len(self._names)) if counts[i] != self._header["ipc"]]:
            raise OutputError(
                f"class '{self._names[wrong[0]]}' (label {wrong[0]}) has {counts[wrong[0]]} images, "
                f"not ipc={self._header['ipc']}; remove {self._partial.folder} to start again"
            )
        rows = sorted((row for unit in self._partial.units.values() for row in unit), key=_label_and_file)
        columns = list(dict.fromkeys(key for row in rows for key in row))
        rows = [{key: row.get(key) for key in columns} for row in rows]
        train = self._partial.set_folder / "train"
        by_class: list[list[Path]] = [[] for _ in self._names]
        for row in rows:
            by_class[row["label"]].append(train / row["file_name"])
        files = {
            METADATA: "".join(f"{json.dumps(row)}\n" for row in rows).encode(),
            "README.md": card(num_classes=len(self._names), ipc=self._header["ipc"]).encode(),
            "preview.png": encode_png(preview(list(zip(self._names, by_class, strict=True)))),
        }
        if self._partial.arrays:
            files[ARRAYS] = npz({name: array for one in self._partial.arrays.values() for name, array in one.items()})
        manifest = {**self._header, "files": {name: hashlib.sha256(files[name]).hexdigest() for name in files}}
        with Image.open(by_class[0][0]) as first:
            manifest["image_size"] = first.height
        if memory is not None:
            manifest["memory"] = dict(memory)
        files[MANIFEST] = f"{json.dumps(manifest, indent=2, sort_keys=True)}\n".encode()
        with disk_errors_explained(self._partial.folder, disk_nbytes(files)):
            for name, content in files.items():
                write_whole(self._partial.set_folder / name, content)
            sync_folder(self._partial.set_folder)
        self._partial.publish()
        return self.out

    def close(self) -> None:
        """Let another process continue; what is finished stays."""
        self._partial.close()

    def _refuse_misfit(self, unit: EncodedUnit) -> None:
        if unit.index not in range(self._header["num_units"]) or unit.index in self._partial.units:
            raise OutputError(f"unit {unit.index} is none of {self._header['num_units']}, or was written before")
        taken = {name for one in self._partial.arrays.values() for name in one}
        if again_named := sorted(taken & set(unit.arrays)):
            raise OutputError(f"unit {unit.index} has an array '{again_named[0]}', which another unit wrote")
        if again := sorted(self._written & {row["label"] for row in unit.rows}):
            raise OutputError(f"unit {unit.index} has images of class {again[0]}, which another unit wrote")


class DistilledSet(StoredSource):
    """A distilled set that was opened: an `ImageSource` with its manifest and rows."""

    kind: ClassVar[str] = "distilled"

    def __init__(self, folder: Path) -> None:
        """Use `read_distilled`."""
        self.folder = folder
        self.manifest = read_manifest(folder)
        super().__init__(folder.resolve().name, self.manifest.class_names)
        self._rows: list[list[Row]] = [[] for _ in self.class_names]
        for row in read_rows(folder, self.manifest):
            self._rows[row["label"]].append(row)

    def rows(self, class_id: int) -> tuple[Row, ...]:
        """What metadata.jsonl says of each image of the class, in the order of `images`."""
        return tuple(self._rows[class_id])

    def arrays(self) -> NamedArrays:
        """What the method made beside images; empty for most.

        Raises:
            DataError: The file is not there or damaged.
        """
        if ARRAYS not in self.manifest.files:
            return {}
        try:
            return from_npz((self.folder / ARRAYS).read_bytes())
        except (OSError, DataError) as error:
            raise DataError(f"{self.folder / ARRAYS} cannot be read: {error}") from error

    def stored_names(self, class_id: int) -> Sequence[str]:
        return [row["file_name"] for row in self._rows[class_id]]

    def stored_pictures(self, class_id: int) -> Iterator[Path]:
        return (self.folder / "train" / name for name in self.stored_names(class_id))


def read_distilled(folder: str | Path) -> DistilledSet:
    """Open a distilled set. Digests are not checked; `verify_distilled` does.

    Raises:
        DataError: No distilled set is there, or its manifest or metadata cannot be read.
    """
    return DistilledSet(Path(folder))


def is_distilled(folder: Path) -> bool:
    """Whether `folder` has what every distilled set has."""
    return (folder / MANIFEST).is_file() and (folder / METADATA).is_file()


def _label_and_file(row: Row) -> tuple[int, str]:
    return row["label"], row["file_name"]
