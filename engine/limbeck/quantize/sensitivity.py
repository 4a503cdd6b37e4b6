"""Mixed precision: how much each layer suffers from int8, and which are worth keeping in float.

Each layer alone is quantized, and the change of the graph's outputs measured. Errors of different layers are taken as
independent, so their squares add: the square of a layer's error, per byte that keeping it in float costs, says in
which order to keep them. The whole choice is then measured, and tightened if the sum was too hopeful.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import JsonValue

from limbeck.arrays import Array
from limbeck.errors import ConfigError
from limbeck.quantize.graph_file import open_graph
from limbeck.quantize.half import write_half
from limbeck.quantize.instrument import Instrumented
from limbeck.quantize.ranges import Range
from limbeck.quantize.static_int8 import Form, find_layers, quantize_layers, write_static_int8


@dataclass(frozen=True)
class LayerError:
    """What int8 does to the graph in one layer.

    Args:
        name: Of the layer.
        error: Relative L2 error of the graph's outputs with only this layer in int8.
        nbytes: Of its weight in float32.
    """

    name: str
    error: float
    nbytes: int


@dataclass(frozen=True)
class MixedPlan:
    """A precision for each layer.

    Args:
        int8_layers: Names of the layers in int8.
        float_layers: Names of the layers that stay in float.
        predicted_error: The root of the sum of squares of the int8 layers' errors.
        measured_error: Relative L2 error of the graph with all of them in int8.
        nbytes: Of all layers' weights: 1 byte an element in int8, 4 in float.
    """

    int8_layers: tuple[str, ...]
    float_layers: tuple[str, ...]
    predicted_error: float
    measured_error: float
    nbytes: int


class Sensitivity:
    """Measures what int8 does to the outputs of a graph, on feeds.

    Args:
        graph: A float32 graph.
        feeds: Such as it really gets; see `record_trajectories`.
        ranges: Of its `activations`.
        form: As of `write_static_int8`.

    Raises:
        ConfigError: No feeds, or a range is missing.
        EngineError: ONNX Runtime cannot run the graph.
    """

    def __init__(
        self,
        graph: Path,
        feeds: Sequence[Mapping[str, Array]],
        ranges: Mapping[str, Range],
        *,
        form: Form = "onnxruntime",
    ) -> None:
        """Run the float32 graph once on the feeds."""
        if not feeds:
            raise ConfigError("sensitivity is measured by running the graph; give at least one set of feeds")
        self._graph = graph
        self._feeds = feeds
        self._ranges = ranges
        self._form = form
        self._expected = self._outputs(())

    def layers(self, names: Collection[str] | None = None) -> tuple[LayerError, ...]:
        """The error of each layer alone, in the graph's order; one run of the graph over the feeds for each."""
        layers = find_layers(open_graph(self._graph), form=self._form)
        return tuple(
            LayerError(layer.name, self.error([layer.name]), layer.nbytes)
            for layer in layers
            if names is None or layer.name in names
        )

    def error(self, int8: Collection[str]) -> float:
        """The relative L2 error, the largest over the outputs, with these layers in int8 and the others not."""
        found = self._outputs(int8)
        return max(_relative([run[name] for run in found], [run[name] for run in self._expected]) for name in found[0])

    def _outputs(self, int8: Collection[str]) -> list[dict[str, Array]]:
        model = open_graph(self._graph)
        layers = [layer for layer in find_layers(model, form=self._form) if layer.name in int8]
        quantize_layers(model, layers, self._ranges, form=self._form)
        with Instrumented(model, self._graph.parent) as session:
            return [session.run(feeds) for feeds in self._feeds]


def plan_mixed(sensitivity: Sensitivity, *, max_error: float | None = None, max_nbytes: int | None = None) -> MixedPlan:
    """The layers that int8 is good for, under one target.

    Args:
        sensitivity: Of the graph.
        max_error: Relative L2 error of the outputs; as few bytes as it allows.
        max_nbytes: Of all layers' weights; as little error as it allows.

    Raises:
        ConfigError: None or both of the targets, or bytes that int8 everywhere does not reach.
    """
    layers = sensitivity.layers()
    target = max_error
    while True:
        kept = choose_float(layers, max_error=target, max_nbytes=max_nbytes)
        plan = _plan(layers, kept, sensitivity)
        if target is None or max_error is None or plan.measured_error <= max_error or not plan.int8_layers:
            return plan
        # at least one layer more stays in float each time
        target = min(target * max_error / plan.measured_error, math.nextafter(plan.predicted_error, 0))


def choose_float(
    layers: Sequence[LayerError], *, max_error: float | None = None, max_nbytes: int | None = None
) -> frozenset[str]:
    """The layers to keep in float: those that spare most squared error a byte, until the target is met or used up.

    Raises:
        ConfigError: As `plan_mixed`.
    """
    if (max_error is None) == (max_nbytes is None):
        raise ConfigError("mixed precision needs one target: max_error or max_nbytes")
    left = math.fsum(layer.error**2 for layer in layers)
    spare = 0 if max_nbytes is None else max_nbytes - sum(layer.nbytes // 4 for layer in layers)
    if spare < 0:
        raise ConfigError(
            f"the layers take {sum(layer.nbytes // 4 for layer in layers)} bytes with int8 everywhere, {max_nbytes} "
            "were asked; weights of 4 bits (w4) take half of that"
        )
    kept: set[str] = set()
    for layer in sorted(layers, key=lambda one: one.error**2 / one.nbytes, reverse=True):
        cost = layer.nbytes - layer.nbytes // 4
        if max_error is not None:
            if left <= max_error**2:
                break
        elif cost > spare:
            continue
        kept.add(layer.name)
        spare -= cost
        left = math.fsum(one.error**2 for one in layers if one.name not in kept)
    return frozenset(kept)


def write_mixed(
    graph: Path,
    out: Path,
    plan: MixedPlan,
    *,
    ranges: Mapping[str, Range],
    form: Form = "onnxruntime",
    rest: Literal["float32", "float16", "bfloat16"] = "float32",
    islands: Collection[str] = (),
    calibration: Mapping[str, JsonValue] | None = None,
) -> dict[str, JsonValue]:
    """Write `graph` to `out` with the plan's int8 layers as `write_static_int8` and everything else in `rest`.

    Args:
        graph: A float32 graph.
        out: The file to write.
        plan: Of `plan_mixed`.
        ranges: As of `write_static_int8`.
        form: As of `write_static_int8`.
        rest: The type of all that is not int8.
        islands: With a 16-bit rest: nodes that stay in float32.
        calibration: As of `write_static_int8`.

    Returns:
        The recipe: what both writers were told, and the plan's errors.

    Raises:
        ConfigError, PackError, OutputError: As the two writers.
    """
    recipe = write_static_int8(
        graph, out, ranges=ranges, form=form, skip=plan.float_layers, min_size=0, calibration=calibration
    )
    if rest != "float32":
        recipe |= write_half(out, out, dtype=rest, islands=islands)
    return recipe | {"predicted_error": plan.predicted_error, "measured_error": plan.measured_error}


def _plan(layers: Sequence[LayerError], kept: Collection[str], sensitivity: Sensitivity) -> MixedPlan:
    int8 = tuple(layer.name for layer in layers if layer.name not in kept)
    return MixedPlan(
        int8_layers=int8,
        float_layers=tuple(layer.name for layer in layers if layer.name in kept),
        predicted_error=math.sqrt(math.fsum(layer.error**2 for layer in layers if layer.name not in kept)),
        measured_error=sensitivity.error(int8),
        nbytes=sum(layer.nbytes if layer.name in kept else layer.nbytes // 4 for layer in layers),
    )


def _relative(found: Sequence[Array], expected: Sequence[Array]) -> float:
    change = math.fsum(float(np.sum((a.astype(np.float64) - b) ** 2)) for a, b in zip(found, expected, strict=True))
    size = math.fsum(float(np.sum(b.astype(np.float64) ** 2)) for b in expected)
    return math.sqrt(change / size) if size else (math.inf if change else 0.0)
