"""What a pack says of the identity of a graph: the digest of what it computes, taken when the graph is made."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from limbeck.backends.canonical import canonical_digest
from limbeck.pack import Canonical, FileEntry, GraphEntry


def identified(folder: Path, entry: GraphEntry, files: Mapping[str, FileEntry]) -> GraphEntry:
    """`entry` with the canonical digest of its graph in the pack's `folder`, whose files are listed in `files`."""
    canonical = Canonical(digest=canonical_digest(folder / entry.file), files=entry.files_digest(files))
    return entry.model_copy(update={"canonical": canonical})
