"""A step cache as a candidate: the trunk is cut, and both graphs take the precision that was kept for the trunk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from limbeck.backends.base import Backend
from limbeck.build.candidates import Writers, need_packages
from limbeck.build.feeds import normal_feeds, symbolic_sizes
from limbeck.build.placing import copied, with_graph, written
from limbeck.build.thresholds import THRESHOLDS
from limbeck.build.timing import compare
from limbeck.diffusion.step_cache import StepCache
from limbeck.errors import ConfigError, EngineError
from limbeck.pack import Pack, Role, write_manifest
from limbeck_kernels.distances import relative_error

CUT: tuple[Role, ...] = ("trunk", "shallow")
"""The graphs that a cut makes of a trunk."""


def refuse_uncut(source: Pack) -> None:
    """Refuse a pack that no step cache can be made for here.

    Raises:
        ConfigError: It has no DiT, or not what the quality gate needs to walk; or packages are missing.
    """
    need_packages()
    manifest = source.manifest
    if manifest.denoiser is None or manifest.denoiser.kind != "dit" or manifest.codec is None:
        raise ConfigError(
            f"a step cache needs a DiT, and a codec to judge its images; pack '{manifest.name}' has: "
            f"{', '.join(manifest.graphs)}\nbuild it without --step-cache"
        )


def with_cut(best: Pack, source: Pack, writers: Writers) -> Pack:
    """`best` with a trunk that gives its middle, and with the graph that runs without the middle blocks.

    Args:
        best: The pack that was built, in the folder of `source`.
        source: The float32 pack whose trunk is cut.
        writers: Write both graphs in the precision of the trunk of `best`.

    Raises:
        ExportError: The trunk cannot be cut.
        ConfigError, EngineError, OutputError: The graphs cannot be written in that precision.
    """
    precision = best.manifest.graphs["trunk"].precision
    beside = (source.folder / source.manifest.graphs["trunk"].file).parent
    with TemporaryDirectory(dir=source.folder) as place:
        cut = _cut(source, Path(place))
        pack = best
        for role in CUT:
            graph, entry = cut.graph(role), cut.manifest.graphs[role]
            out = beside / f"{role}.cut.{precision}.onnx"
            if precision == "fp32":
                copied(graph.path, out)
                pack = with_graph(pack, role, entry, [out, *(source.folder / name for name in entry.external)])
            else:
                recipe = writers.write(precision, role, graph.path, out, trunk=cut.graph("trunk"))
                update = {"precision": precision, "recipe": {**entry.recipe, **recipe}}
                pack = with_graph(pack, role, entry.model_copy(update=update), written(out))
    return pack


def cut_figures(
    pack: Pack, uncut: Pack, backend: Backend, cache: StepCache, *, bucket: int, seconds: float
) -> Mapping[str, float]:
    """What the cut graphs of `pack` take beside the trunk of `uncut`, on seeded normal input.

    `time_ratio` is that of a walk of the fewest steps that a cache may run.

    Raises:
        EngineError: The backend refuses a graph, or the cut trunk predicts something else.
    """
    graphs = [uncut.graph("trunk"), *(pack.graph(role) for role in CUT)]
    feeds = normal_feeds(graphs[-1].spec, symbolic_sizes(pack.manifest, batch=bucket))
    timings, outputs = compare(graphs, backend, feeds, seconds=seconds)
    error = relative_error(outputs[1]["prediction"], outputs[0]["prediction"])
    limit = THRESHOLDS["output_error"].value
    if error > limit:
        raise EngineError(f"the cut trunk predicts something else: relative error {error:.3g}, at most {limit} may be")
    whole, full, shallow = (timing.median for timing in timings)
    num_full = cache.full_steps(cache.MIN_STEPS)
    entry = pack.manifest.graphs["shallow"]
    return {
        "seconds": shallow,
        "trunk_seconds": full,
        "time_ratio": (num_full * full + (cache.MIN_STEPS - num_full) * shallow) / (cache.MIN_STEPS * whole),
        "file_nbytes": float(sum(pack.manifest.files[name].nbytes for name in (entry.file, *entry.external))),
        "trunk_error_on_normal_input": error,
    }


def _cut(source: Pack, folder: Path) -> Pack:
    """The source with its trunk cut, in `folder`, which has no other graph of it."""
    from limbeck.export.step_cache import add_shallow

    entry = source.manifest.graphs["trunk"]
    for name in (entry.file, *entry.external):
        copied(source.folder / name, folder / name)
    write_manifest(folder, source.manifest)
    add_shallow(folder)
    return Pack.open(folder)
