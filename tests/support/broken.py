"""Packs with one graph changed: as a quantizer would, or as a broken one might."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from limbeck.pack import Pack, Role, file_entry, write_manifest

Edit = Callable[[Path, Path], object]
"""Writes a graph anew from one file to another."""


def with_graph(pack: Pack, folder: Path, role: Role, edit: Edit) -> Pack:
    """A copy of `pack` in `folder` whose graph of `role` is what `edit` makes of it."""
    shutil.copytree(pack.folder, folder)
    entry = pack.manifest.graphs[role]
    out = folder / "changed" / f"{role}.onnx"  # other graphs may read the weights beside the old one
    out.parent.mkdir()
    edit(pack.folder / entry.file, out)
    written = [path.relative_to(folder).as_posix() for path in (out, *out.parent.glob(f"{out.name}.*"))]
    update = {"file": written[0], "external": tuple(written[1:])}
    graphs = {**pack.manifest.graphs, role: entry.model_copy(update=update)}
    files = {**pack.manifest.files, **{name: file_entry(folder / name) for name in written}}
    write_manifest(folder, pack.manifest.model_copy(update={"graphs": graphs, "files": files}))
    return Pack.open(folder)


def rounded_weights(bits: int) -> Edit:
    """Every matrix rounded to so many bits, symmetric, with one scale for each of its columns."""

    def edit(graph: Path, out: Path) -> None:
        import onnx

        model = onnx.load(graph)
        for weight in model.graph.initializer:
            array = onnx.numpy_helper.to_array(weight)
            if array.ndim == 2 and array.dtype in (np.float16, np.float32):
                step = np.maximum(np.abs(array).max(axis=0, keepdims=True), 1e-6) / (2 ** (bits - 1) - 1)
                weight.CopyFrom(
                    onnx.numpy_helper.from_array((np.round(array / step) * step).astype(array.dtype), weight.name)
                )
        onnx.save(model, out)

    return edit


def scaled_weight(which: int, factor: float) -> Edit:
    """One weight of two or more dimensions, counted from 0, times a factor: what a wrong scale does to a layer."""

    def edit(graph: Path, out: Path) -> None:
        import onnx

        model = onnx.load(graph)
        weights = [weight for weight in model.graph.initializer if len(weight.dims) > 1]
        array = onnx.numpy_helper.to_array(weights[which])
        weights[which].CopyFrom(onnx.numpy_helper.from_array((array * factor).astype(array.dtype), weights[which].name))
        onnx.save(model, out)

    return edit


class EndsItsProcess:
    """What unpickles into the end of the process: a runtime that crashes."""

    def __reduce__(self) -> tuple[Callable[[int], None], tuple[int]]:
        return os._exit, (3,)
