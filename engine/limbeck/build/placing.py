"""Files of the pack that is being built: how they come into its folder, and into its manifest."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from limbeck.export.identity import identified
from limbeck.pack import GraphEntry, Pack, PackManifest, Role, file_entry


def copied(source: Path, out: Path) -> None:
    """The file in another place. Not a hard link: onnx refuses weights that have several names."""
    out.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, out)


def written(graph: Path) -> list[Path]:
    """The files that writing `graph` made: itself, then its weights."""
    return [graph, *sorted(graph.parent.glob(f"{graph.name}.*"))]


def with_graph(pack: Pack, role: Role, entry: GraphEntry, paths: Sequence[Path]) -> Pack:
    """`pack` with another graph for `role`: as `entry` says, but at `paths`, the graph and then its weights."""
    names = [path.relative_to(pack.folder).as_posix() for path in paths]
    files = {**pack.manifest.files}
    for name, path in zip(names, paths, strict=True):
        files.setdefault(name, file_entry(path))
    entry = entry.model_copy(update={"file": names[0], "external": tuple(names[1:])})
    graphs = {**pack.manifest.graphs, role: identified(pack.folder, entry, files)}
    return Pack(pack.folder, pack.manifest.model_copy(update={"files": files, "graphs": graphs}))


def without_unused(found: PackManifest, source: PackManifest) -> PackManifest:
    """`found` without the files of graphs that it has no more; what `source` has beside graphs stays."""
    used = {name for entry in found.graphs.values() for name in (entry.file, *entry.external)}
    beside = source.files.keys() - {name for entry in source.graphs.values() for name in (entry.file, *entry.external)}
    files = {name: entry for name, entry in found.files.items() if name in used | beside}
    return PackManifest.model_validate(found.model_copy(update={"files": files}).model_dump())


def remove_unlisted(folder: Path, manifest: PackManifest) -> None:
    """Remove what belongs to graphs that were replaced, and to candidates that were not kept."""
    for path in folder.rglob("*"):
        if path.is_file() and path.relative_to(folder).as_posix() not in manifest.files:
            path.unlink()
