"""A finished unit as files: what its images are called, their bytes, and their rows."""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from limbeck.arrays import Images
from limbeck.data.arrays_file import NamedArrays
from limbeck.data.partial import Row
from limbeck.errors import OutputError


@dataclass(frozen=True)
class EncodedUnit:
    """A unit's files; what they are depends on the unit and its set alone.

    Args:
        index: Which.
        files: PNG files by `<class folder>/<file>`.
        rows: What metadata.jsonl says of each, in the order of `files`.
        arrays: What it has beside images.
    """

    index: int
    files: Mapping[str, bytes]
    rows: Sequence[Row]
    arrays: NamedArrays = field(default_factory=dict)


@dataclass(frozen=True)
class UnitLayout:
    """How the units of one set become files.

    Args:
        class_names: In label order.
        class_folders: Likewise.
        ipc: Images per class.
    """

    class_names: Sequence[str]
    class_folders: Sequence[str]
    ipc: int

    def encode(
        self,
        unit: int,
        images: Images,
        class_ids: Sequence[int],
        rows: Sequence[Mapping[str, object]] = (),
        arrays: NamedArrays = MappingProxyType({}),
    ) -> EncodedUnit:
        """A unit's files and rows.

        Args:
            unit: Its index.
            images: Shape (n, 3, height, width), in [0, 1]; become 8-bit PNG, rounded to nearest.
            class_ids: The label of each, `ipc` of every class among them.
            rows: What the method says of each: scalars or lists of scalars, the same keys for every image. It cannot
                change `file_name`, `label`, `class_name` and `sha256`.
            arrays: What the unit has beside images.

        Raises:
            OutputError: Images and labels do not fit each other or the set, or the images are not finite.
        """
        self._refuse_misfit(unit, images, class_ids, rows)
        files: dict[str, bytes] = {}
        listed: list[Row] = []
        seen: Counter[int] = Counter()
        digits = max(4, len(str(self.ipc - 1)))
        for image, class_id, row in zip(images, class_ids, rows or ({},) * len(images), strict=True):
            position = seen[class_id]
            seen[class_id] += 1
            name = f"{self.class_folders[class_id]}/{position:0{digits}d}.png"
            files[name] = encode_png(Image.fromarray(_bytes(image)))
            fixed = {"file_name": name, "label": class_id, "class_name": self.class_names[class_id]}
            digest = hashlib.sha256(files[name]).hexdigest()
            entry = {**fixed, "index": position, **row, **fixed, "sha256": digest}
            listed.append(json.loads(json.dumps(entry, default=_number, allow_nan=False)))
        return EncodedUnit(unit, files, listed, arrays)

    def _refuse_misfit(
        self, unit: int, images: Images, class_ids: Sequence[int], rows: Sequence[Mapping[str, object]]
    ) -> None:
        known = range(len(self.class_names))
        if len(images) != len(class_ids) or len(rows) not in (0, len(images)):
            raise OutputError(f"unit {unit} has {len(images)} images, {len(class_ids)} labels and {len(rows)} rows")
        counts = Counter(class_ids)
        if not counts or any(count != self.ipc or class_id not in known for class_id, count in counts.items()):
            raise OutputError(f"unit {unit} has {dict(counts)} images by label; every class of it needs ipc={self.ipc}")
        if not np.isfinite(images).all():
            raise OutputError(f"unit {unit} has pixels that are not finite; check the pack with `limbeck doctor`")


def encode_png(image: Image.Image) -> bytes:
    """The PNG file of an image, the same bytes on every machine with the same zlib."""
    stream = io.BytesIO()
    image.save(stream, "PNG", compress_level=6)
    return stream.getvalue()


def _bytes(image: Images) -> NDArray[np.uint8]:
    """An image (3, height, width) in [0, 1] as (height, width, 3) of uint8."""
    scaled: Images = np.rint(np.clip(image, 0, 1) * np.float32(255))
    return scaled.astype(np.uint8).transpose(1, 2, 0)


def _number(value: object) -> object:
    """What JSON takes a NumPy scalar for."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{value!r} in a row is neither a JSON value nor a NumPy number")
