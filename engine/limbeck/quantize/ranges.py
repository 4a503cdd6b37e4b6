"""The range of each activation over calibration feeds, gathered in passes that keep scalars and histograms.

    minmax        everything fits
    percentile    the tails beyond it are clipped
    mse           clipped where rounding and clipping together cost the least squared error

A first pass finds the extremes inside the runtime, so that no activation leaves it; only clipping needs a second one,
for histograms between them, with as many activations at a time as the settings allow in memory.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from pydantic import JsonValue

from limbeck.arrays import Array
from limbeck.errors import ConfigError
from limbeck.quantize.graph_file import open_graph
from limbeck.quantize.instrument import Instrumented, Probes

NUM_STEPS = 255
"""Steps of 8 bits between the two ends of a range."""


@dataclass(frozen=True)
class Range:
    """What is kept of an activation; values outside are clipped. Zero, which padding needs exactly, is always in it."""

    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class RangeSettings:
    """How a range is made of what was seen.

    Args:
        method: "minmax", "percentile" or "mse".
        percentile: Of all values, in percent, that "percentile" keeps; the rest is cut half on each side.
        num_bins: Of each histogram.
        memory_nbytes: The most memory that activations outside the runtime may take, as far as one alone allows.

    Raises:
        ConfigError: A method that does not exist, a percentile outside 50 to 100, or fewer than 256 bins.
    """

    method: Literal["minmax", "percentile", "mse"] = "minmax"
    percentile: float = 99.99
    num_bins: int = 2048
    memory_nbytes: int = 256 * 2**20

    def __post_init__(self) -> None:
        """Reject settings that would give no range."""
        if self.method not in ("minmax", "percentile", "mse"):
            raise ConfigError(f"unknown range method '{self.method}'; there are minmax, percentile and mse")
        if not 50 <= self.percentile <= 100 or self.num_bins <= NUM_STEPS:
            raise ConfigError(
                f"percentile must be in 50..100 and num_bins above {NUM_STEPS}, "
                f"got {self.percentile} and {self.num_bins}"
            )

    def recipe(self) -> dict[str, JsonValue]:
        """The settings that decide a range."""
        return {name: value for name, value in asdict(self).items() if name != "memory_nbytes"}


def gather_ranges(
    graph: Path,
    values: Collection[str],
    feeds: Sequence[Mapping[str, Array]],
    settings: RangeSettings | None = None,
) -> dict[str, Range]:
    """The range of each named value of `graph` over all feeds.

    Raises:
        ConfigError: No feeds, a name that is no value of the graph, or a value that is not finite.
        EngineError: ONNX Runtime cannot run the graph.
    """
    settings = settings or RangeSettings()
    if not feeds:
        raise ConfigError("ranges are gathered by running the graph; give at least one set of feeds")
    seen = _extremes(graph, values, feeds)
    extremes = {name: one.range for name, one in seen.items()}
    if settings.method == "minmax":
        return extremes
    ranges = {}
    for group in _groups(seen, settings.memory_nbytes):
        for name, counts in _histograms(graph, {each: extremes[each] for each in group}, feeds, settings).items():
            ranges[name] = clipped(counts, extremes[name], settings)
    return ranges


def clipped(counts: NDArray[np.int64], extremes: Range, settings: RangeSettings) -> Range:
    """The range that `settings` keeps of a histogram with equal bins between the extremes."""
    edges = np.linspace(extremes.low, extremes.high, len(counts) + 1)
    if extremes.low == extremes.high:
        return extremes
    if settings.method == "percentile":
        tail = (1 - settings.percentile / 100) / 2
        share = np.concatenate([[0], np.cumsum(counts) / counts.sum()])
        return Range(float(np.interp(tail, share, edges)), float(np.interp(1 - tail, share, edges)))
    middles = (edges[:-1] + edges[1:]) / 2
    choices = [Range(extremes.low * share, extremes.high * share) for share in np.linspace(0.05, 1, 96)]
    return min(reversed(choices), key=lambda one: _squared_error(middles, counts, one))


def _squared_error(values: NDArray[np.float64], counts: NDArray[np.int64], kept: Range) -> float:
    """Of rounding `values` to the steps of 8 bits between the ends of `kept`, or clipping them to it."""
    step = (kept.high - kept.low) / NUM_STEPS
    inside = np.clip(values, kept.low, kept.high)
    rounded = np.round((inside - kept.low) / step) * step + kept.low
    return float(counts @ (rounded - values) ** 2)


@dataclass(frozen=True)
class _Seen:
    range: Range
    nbytes: int


def _extremes(graph: Path, values: Collection[str], feeds: Sequence[Mapping[str, Array]]) -> dict[str, _Seen]:
    model, found = _values(graph, values)
    probes = Probes(model)
    for name, value in found.items():
        probes.read(f"low {name}", probes.op("ReduceMin", value, keepdims=0))
        probes.read(f"high {name}", probes.op("ReduceMax", value, keepdims=0))
        probes.read(f"size {name}", probes.op("Size", value))
    model, names = probes.finish()
    with Instrumented(model, graph.parent) as session:
        runs = [session.run(each) for each in feeds]
    read = {what: [float(run[name]) for run in runs] for what, name in names.items()}
    seen = {
        name: _Seen(
            Range(min(0.0, *read[f"low {name}"]), max(0.0, *read[f"high {name}"])), int(4 * max(read[f"size {name}"]))
        )
        for name in found
    }
    infinite = [name for name, one in seen.items() if not np.isfinite([one.range.low, one.range.high]).all()]
    if infinite:
        raise ConfigError(f"the calibration feeds make {', '.join(infinite)} infinite; no range can hold that")
    return seen


def _histograms(
    graph: Path, extremes: Mapping[str, Range], feeds: Sequence[Mapping[str, Array]], settings: RangeSettings
) -> dict[str, NDArray[np.int64]]:
    model, found = _values(graph, extremes)
    probes = Probes(model)
    for name, value in found.items():
        probes.read(name, value)
    model, names = probes.finish()
    counts = {name: np.zeros(settings.num_bins, np.int64) for name in extremes}
    with Instrumented(model, graph.parent) as session:
        for each in feeds:
            run = session.run(each)
            for name, kept in extremes.items():
                values = run[names[name]].ravel()
                counts[name] += np.histogram(values, settings.num_bins, (kept.low, kept.high))[0]
    return counts


def _groups(seen: Mapping[str, _Seen], memory_nbytes: int) -> Iterator[list[str]]:
    """Names of activations that fit into memory together; one alone that does not is a group of its own."""
    group: list[str] = []
    used = 0
    for name, one in seen.items():
        if group and used + one.nbytes > memory_nbytes:
            yield group
            group, used = [], 0
        group.append(name)
        used += one.nbytes
    if group:
        yield group


def _values(graph: Path, names: Collection[str]) -> tuple[ir.Model, dict[str, ir.Value]]:
    model = open_graph(graph)
    known = {value.name: value for value in model.graph.inputs}
    known |= {value.name: value for node in model.graph for value in node.outputs}
    unknown = sorted(set(names) - known.keys())
    if unknown:
        some = ", ".join(str(name) for name in list(known)[:5])
        raise ConfigError(f"{graph} has no value {', '.join(unknown)}; it has {len(known)}, such as {some}")
    return model, {name: known[name] for name in names}
