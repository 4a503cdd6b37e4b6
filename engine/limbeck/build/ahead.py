"""`build_ahead`: engines for devices that are not here, in the cache until they are.

Which of them is fast, and whether it is good enough, only the device can tell. So every engine is a trial that was not
measured, no graph of the pack is replaced, and `build_pack` on the device finds in the cache what was built here.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from limbeck.backends.base import AheadOfTimeBackend, Backend, Graph
from limbeck.backends.key import EngineKey
from limbeck.backends.onnxruntime import OnnxRuntime
from limbeck.budget import format_nbytes
from limbeck.build.builder import OnStep
from limbeck.build.candidates import BUILD_ORDER, Writers, tried
from limbeck.build.options import BuildOptions
from limbeck.build.placing import copied, remove_unlisted, with_graph, written
from limbeck.cache import Cache
from limbeck.engine import prebuild
from limbeck.errors import ConfigError, EngineError
from limbeck.export.pack import new_pack_folder
from limbeck.pack import BuildTrial, Pack, PackManifest, Role, write_manifest
from limbeck.precision import PrecisionName


def build_ahead(
    source: Pack,
    out: Path,
    backend: AheadOfTimeBackend,
    options: BuildOptions,
    *,
    cache: Cache,
    reference: Backend | None = None,
    on_step: OnStep = lambda stage, done, total: None,
) -> PackManifest:
    """Build the engine of every graph of a pack, and of every precision that could pay.

    Args:
        source: An exported pack, in float32; it is not changed.
        out: The new pack's folder: the source, with the trials.
        backend: What builds. Its targets must be named where their device is not this machine's.
        options: The precision ("auto" is float32 and all that the backend might run faster), the roles, and the seed.
        cache: Where the engines go.
        reference: What records feeds where a precision needs ranges; ONNX Runtime on the CPU if not given.
        on_step: Progress.

    Returns:
        The manifest, with a trial for each engine: its size and the seconds it took, or why it cannot be.

    Raises:
        BackendUnavailableError: The backend's package is not there, or no target is named and there is no device.
        ConfigError: A step cache was asked for.
        ConfigError, EngineError: No engine can be built at all; this is why the last could not.
        OutputError: `out` exists, or cannot be written.
        PackError: The source is damaged.
    """
    if options.step_cache is not None:
        raise ConfigError("a step cache is judged by running it, which nothing built ahead of time is: leave out one")
    backend.fingerprint()  # refuses here, once, what no role can be built without
    trials: list[BuildTrial] = []
    failure: ConfigError | EngineError | None = None
    with new_pack_folder(out) as folder:
        for name in source.manifest.files:
            copied(source.folder / name, folder / name)
        pack = Pack(folder, source.manifest)
        writers = Writers(pack, backend, reference or OnnxRuntime(), seed=options.seed)
        asked = [
            (role, precision)
            for role in BUILD_ORDER
            if role in (options.roles or source.manifest.graphs)
            for precision in _precisions(backend, options)
        ]
        for done, (role, precision) in enumerate(asked):
            on_step("engines", done, len(asked))
            try:
                graph = _graph(pack, role, precision, writers)
                trials.append(_trial(role, precision, graph, backend, cache))
            except (ConfigError, EngineError) as error:
                failure = error
                reason = f"not possible: {str(error).replace(f'{folder}{os.sep}', '')}"
                trials.append(
                    BuildTrial(role=role, backend=backend.name, precision=precision, kept=False, reason=reason)
                )
        on_step("engines", len(asked), len(asked))
        if failure is not None and not any(trial.figures for trial in trials):
            raise failure
        manifest = source.manifest.model_copy(update={"name": out.resolve().name, "trials": tuple(trials)})
        remove_unlisted(folder, manifest)
        write_manifest(folder, manifest)
    return manifest


def _precisions(backend: Backend, options: BuildOptions) -> tuple[PrecisionName, ...]:
    return ("fp32", *tried(backend)) if options.precision == "auto" else (options.precision,)


def _graph(pack: Pack, role: Role, precision: PrecisionName, writers: Writers) -> Graph:
    """The role's graph in this precision, described as `build_pack` would, so that the engine has the same key."""
    if precision == "fp32":
        return pack.graph(role)
    original = pack.graph(role).path
    out = original.with_name(f"model.{precision}.onnx")
    recipe = writers.write(precision, role, original, out)
    entry = pack.manifest.graphs[role].model_copy(update={"precision": precision, "recipe": recipe})
    return with_graph(pack, role, entry, written(out)).graph(role)


def _trial(role: Role, precision: PrecisionName, graph: Graph, backend: AheadOfTimeBackend, cache: Cache) -> BuildTrial:
    key = EngineKey.of(graph, backend)
    there = cache.get(key.digest) is not None
    start = time.perf_counter()
    nbytes = len(prebuild(graph, backend, cache=cache))
    seconds = time.perf_counter() - start
    made = "was in the cache" if there else f"built in {seconds:.1f} s"
    lost = "" if there or cache.get(key.digest) else ", but the cache did not keep it: its log says why"
    return BuildTrial(
        role=role,
        backend=backend.name,
        precision=precision,
        kept=False,
        reason=f"not measured, which needs the device; engine {key}, {format_nbytes(nbytes)}, {made}{lost}",
        figures={"engine_nbytes": float(nbytes), **({} if there else {"build_seconds": seconds})},
    )
