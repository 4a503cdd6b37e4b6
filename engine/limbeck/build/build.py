"""`build_pack`: a pack whose graphs are the fastest that are measured to be good enough and to fit.

For each role, the trunk first, every precision that could pay is written, timed beside the float32 graph, and its
memory measured in a process of its own. Then, from the fastest on, the quality gate judges it together with what was
kept for the roles before; the first to pass is kept. If none passes, or none is faster, the float32 graph stays. What
was tried, with every figure and limit, is in the new pack's `trials`.

A step cache that is asked for comes last: the float32 trunk is cut, both parts are written in the precision that was
kept, and the gate judges them and the cache's setting together. If it refuses, the pack is as it would be without.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from limbeck.backends.base import Backend
from limbeck.backends.onnxruntime import OnnxRuntime
from limbeck.build.builder import Builder, OnStep
from limbeck.build.candidates import BUILD_ORDER
from limbeck.build.options import BuildOptions
from limbeck.build.placing import copied, remove_unlisted
from limbeck.build.step_cache import refuse_uncut
from limbeck.build.thresholds import THRESHOLDS, Metric, Threshold
from limbeck.errors import ConfigError
from limbeck.export.pack import new_pack_folder
from limbeck.pack import Pack, PackManifest, Role, write_manifest

__all__ = ["BuildOptions", "build_pack"]


def build_pack(
    source: Pack,
    out: Path,
    backend: Backend,
    options: BuildOptions | None = None,
    *,
    reference: Backend | None = None,
    thresholds: Mapping[Metric, Threshold] = THRESHOLDS,
    on_step: OnStep = lambda stage, done, total: None,
) -> PackManifest:
    """Make a pack at the best precision that is measured to be good enough on this machine.

    Args:
        source: An exported pack, in float32; it is not changed.
        out: The new pack's folder. It appears whole, at the end; files that stay as they are share the disk with
            `source` where the file system can.
        backend: What will run the pack.
        options: What to build.
        reference: What runs the source as the gate's reference; ONNX Runtime on the CPU if not given.
        thresholds: Of the quality gate.
        on_step: Progress.

    Returns:
        The manifest, with every trial.

    Raises:
        ConfigError: The pack is no float32 pack, lacks a role that was named, cannot have the precision here, or no
            step cache.
        BudgetError: No precision of a graph fits the budget.
        QualityError: The precision that was asked for by name passes nowhere, or the backend itself is refused.
        OutputError: `out` exists, or cannot be written.
        PackError, EngineError: The source is damaged, or the backend refuses it.
    """
    options = options or BuildOptions()
    roles = _roles(source, options)
    with new_pack_folder(out) as folder:
        for name in source.manifest.files:
            copied(source.folder / name, folder / name)
        pack = Pack(folder, source.manifest)
        builder = Builder(pack, backend, reference or OnnxRuntime(), options, on_step, thresholds=thresholds)
        builder.judge_backend()
        for role in roles:
            builder.build(role)
        builder.refuse_nothing_kept()
        if options.step_cache is not None:
            builder.try_step_cache(options.step_cache)
        manifest = builder.manifest(out.resolve().name)
        remove_unlisted(folder, manifest)
        write_manifest(folder, manifest)
    return manifest


def _roles(source: Pack, options: BuildOptions) -> tuple[Role, ...]:
    """The roles to work on, in the order of the build."""
    graphs = source.manifest.graphs
    made = [role for role, entry in graphs.items() if entry.precision != "fp32"]
    if made:
        raise ConfigError(
            f"pack '{source.manifest.name}' has its {', '.join(made)} in another precision already; "
            "build from the pack as it was exported"
        )
    if "shallow" in graphs:
        raise ConfigError(
            f"pack '{source.manifest.name}' is cut for a step cache already; build from the pack as it was exported, "
            "and have it cut: --step-cache every=2,order=1"
        )
    if options.step_cache is not None:
        refuse_uncut(source)
    lacking = [role for role in options.roles or () if role not in graphs]
    if lacking:
        raise ConfigError(f"pack '{source.manifest.name}' has no {', '.join(lacking)}; it has: {', '.join(graphs)}")
    return tuple(role for role in BUILD_ORDER if role in (options.roles or graphs))
