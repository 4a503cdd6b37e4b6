"""Which columns of a parquet file hold the images and the labels, and what the classes are called.

Asked in this order: what the user says; the features that Hugging Face's `datasets` writes into the schema's
metadata; the usual names; for images, the only column that could hold any. More than one answer is an error.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from limbeck.errors import DataError

_IMAGE_NAMES = ("image", "img", "images", "picture", "photo", "jpg", "png", "webp")
_LABEL_NAMES = ("label", "labels", "class", "target", "cls")


@dataclass(frozen=True)
class Columns:
    """The two columns, and the names of the classes where the schema gives them."""

    image: str
    label: str
    class_names: tuple[str, ...] | None


def find_columns(schema: Any, file: Path, image: str | None, label: str | None) -> Columns:
    """The columns of a pyarrow schema; `image` and `label` are the user's choice, or None.

    Class names come from the label's `ClassLabel` feature, else from the schema's metadata key `classes`, one name
    a line.

    Raises:
        DataError: A column is not there, or which it is is not clear.
    """
    metadata = schema.metadata or {}
    features = _features(metadata)
    image_features = [name for name, feature in features.items() if feature.get("_type") == "Image"]
    label_features = [name for name, feature in features.items() if feature.get("_type") == "ClassLabel"]
    pictures = [field.name for field in schema if _may_hold_images(field.type)]
    label_column = _choose("label", label, [label_features, _LABEL_NAMES], schema.names, file)
    class_names = features.get(label_column, {}).get("names")
    if class_names is None and b"classes" in metadata:
        class_names = metadata[b"classes"].decode().splitlines()
    return Columns(
        image=_choose("image", image, [image_features, _IMAGE_NAMES, pictures], schema.names, file),
        label=label_column,
        class_names=tuple(class_names) if class_names else None,
    )


def _features(metadata: dict[bytes, bytes]) -> dict[str, dict[str, Any]]:
    try:
        found = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}
    return {name: feature for name, feature in found.items() if isinstance(feature, dict)}


def _may_hold_images(type_: Any) -> bool:
    return str(type_) in ("binary", "large_binary") or str(type_).startswith("struct<bytes: binary")


def _choose(role: str, wanted: str | None, guesses: Sequence[Sequence[str]], columns: Sequence[str], file: Path) -> str:
    has = f"{file} has the columns {', '.join(columns)}"
    if wanted is not None:
        if wanted in columns:
            return wanted
        raise DataError(f"no {role} column '{wanted}': {has}")
    for guess in guesses:
        found = [name for name in guess if name in columns]
        if len(found) == 1:
            return found[0]
        if found:
            raise DataError(f"{' and '.join(found)} could be the {role} column; choose with --{role}-column")
    raise DataError(f"no {role} column found: {has}; name it with --{role}-column")
