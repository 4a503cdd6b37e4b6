"""What lies where in a distilled set, and its manifest and rows read back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from limbeck.data.naming import is_component
from limbeck.data.partial import Row
from limbeck.errors import DataError

FORMAT: Literal[1] = 1
MANIFEST = "manifest.json"
METADATA = "train/metadata.jsonl"
LISTED = (METADATA, "README.md", "preview.png")
"""The files whose digests the manifest has."""
ARRAYS = "arrays.npz"
"""So is this one, where there is one."""


class SetManifest(BaseModel):
    """What this module writes into `manifest.json`; the header's own entries stand beside it.

    `class_folders` and `class_names` are in label order. `files` has the SHA-256 of every file that is not an image.
    """

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    format: Literal[1] = FORMAT
    limbeck: str
    class_names: tuple[str, ...]
    class_folders: tuple[str, ...]
    ipc: int = Field(ge=1)
    num_units: int
    files: Mapping[str, str]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.files.keys() - {ARRAYS} != set(LISTED):
            raise ValueError(f"files must be {', '.join(LISTED)}; they are {', '.join(self.files) or 'none'}")
        if len(self.class_names) != len(self.class_folders):
            raise ValueError(f"{len(self.class_names)} class names and {len(self.class_folders)} class folders")
        if len(set(self.class_folders)) != len(self.class_folders):
            raise ValueError("two classes have the same folder")
        if odd := [folder for folder in self.class_folders if not is_component(folder)]:
            raise ValueError(f"class folder {odd[0]!r} is no plain folder name")
        return self


def read_manifest(folder: Path) -> SetManifest:
    """What `manifest.json` says.

    Raises:
        DataError: It is not there, cannot be read, or does not fit the format.
    """
    path = folder / MANIFEST
    try:
        if not path.is_file():
            raise DataError(f"no distilled set at {folder}: {path} is not there; give a folder of `limbeck distill`")
        return SetManifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the whole file"
        raise DataError(f"{path} is no manifest of format {FORMAT}: {place}: {first['msg']}") from error


def read_rows(folder: Path, manifest: SetManifest) -> list[Row]:
    """The rows of metadata.jsonl, each with a label, a digest, and a file in its class's folder."""
    path = folder / METADATA
    rows: list[Row] = []
    seen = set()
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            label = row["label"]
            if type(label) is not int or label not in range(len(manifest.class_folders)):
                raise ValueError(f"label {label!r} is none of the {len(manifest.class_folders)} classes")
            parent, _, file = row["file_name"].partition("/")
            if parent != manifest.class_folders[label] or not is_component(file) or not row["sha256"]:
                raise ValueError(f"'{row['file_name']}' does not lie in the folder of label {row['label']}")
            if row["file_name"] in seen:
                raise ValueError(f"'{row['file_name']}' is listed twice")
            seen.add(row["file_name"])
            rows.append(row)
    except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise DataError(f"{path} cannot be read, line {len(rows) + 1}: {error}") from error
    return rows
