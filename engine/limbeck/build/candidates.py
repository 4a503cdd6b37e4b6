"""Which precisions are tried for a graph, and how each is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from pydantic import JsonValue

from limbeck.arrays import Array
from limbeck.backends.base import Backend, Graph
from limbeck.build.effort import COMMON_CLASSES
from limbeck.engine import compile
from limbeck.errors import ConfigError
from limbeck.pack import DenoiserInfo, Pack, Role
from limbeck.precision import PrecisionName

if TYPE_CHECKING:
    from limbeck.quantize.calibration import Calibration
    from limbeck.quantize.ranges import Range

Recipe: TypeAlias = dict[str, JsonValue]

BUILD_ORDER: tuple[Role, ...] = ("trunk", "text_encoder", "conditioner", "decoder", "encoder", "backbone")
"""The trunk first: it takes nearly all the time, and the most of what the gate allows."""

MIXED_MAX_ERROR = 0.02
"""The error of a graph's outputs on its calibration feeds that mixed precision aims at: two thirds of what the gate
allows the noise, so that it passes with room."""


def tried(backend: Backend) -> tuple[PrecisionName, ...]:
    """The precisions that `auto` tries on this backend, those expected to be fastest first.

    On a CPU a float16 graph is computed in float32 (measured: the same speed, with casts), so it is not tried there.
    """
    if backend.name == "onnxruntime" and getattr(backend, "providers", None) == ("CPUExecutionProvider",):
        return ("int8", "int8-static", "w8", "w4")
    if backend.name == "openvino":
        return ("int8-static", "w8")
    if backend.name == "reference":
        return ()
    return ("fp16", "int8-static")


def need_packages() -> None:
    """Refuse to go on where graphs cannot be written.

    Raises:
        ConfigError: A package is missing; it names the extra.
    """
    missing = [package for package in ("onnx", "onnx_ir") if find_spec(package) is None]
    if missing:
        raise ConfigError(f"writing graphs needs the package(s) {', '.join(missing)}: pip install 'limbeck[export]'")


class Writers:
    """Writes the graphs of one pack in other precisions.

    Args:
        pack: The float32 pack.
        target: What will run the graphs; it decides the form of a quantized graph.
        reference: What runs the pack where feeds have to be recorded.
        seed: Fixes what is recorded.
    """

    def __init__(self, pack: Pack, target: Backend, reference: Backend, *, seed: int) -> None:
        """Nothing is recorded before a precision needs it."""
        self._pack = pack
        self._reference = reference
        self._form: Literal["onnxruntime", "tensorrt"] = (
            "tensorrt" if target.name.startswith("tensorrt") else "onnxruntime"
        )
        self._portable = target.name != "onnxruntime"
        self._seed = seed
        self._cut_trunk: Graph | None = None

    def write(self, name: PrecisionName, role: Role, graph: Path, out: Path, *, trunk: Graph | None = None) -> Recipe:
        """Write `graph`, which is that of `role`, to `out` in precision `name`; returns what was done.

        Args:
            name: The precision.
            role: What the graph is.
            graph: In float32.
            out: The file to make; weights may come beside it.
            trunk: For the role `shallow`: the float32 trunk whose middles it is fed, where feeds are needed.

        Raises:
            ConfigError: The precision cannot be had for this graph, or the packages for it are missing.
            PackError, OutputError, EngineError: The graph cannot be read, written, or run on what it was fed.
        """
        need_packages()
        self._cut_trunk = trunk
        return self._writers[name](role, graph, out)

    @property
    def _writers(self) -> Mapping[PrecisionName, Callable[[Role, Path, Path], Recipe]]:
        return {
            "fp32": self._nothing,
            "fp16": lambda role, graph, out: self._half("float16", role, graph, out),
            "bf16": lambda role, graph, out: self._half("bfloat16", role, graph, out),
            "int8": self._int8,
            "int8-static": self._static,
            "w8": lambda role, graph, out: self._weight_only(8, graph, out),
            "w4": lambda role, graph, out: self._weight_only(4, graph, out),
            "mixed": self._mixed,
        }

    def _nothing(self, role: Role, graph: Path, out: Path) -> Recipe:
        raise ConfigError("fp32 is what the pack has already; nothing is written")

    def _int8(self, role: Role, graph: Path, out: Path) -> Recipe:
        from limbeck.quantize.int8 import write_int8

        return write_int8(graph, out)

    def _weight_only(self, bits: Literal[4, 8], graph: Path, out: Path) -> Recipe:
        from limbeck.quantize.weight_only import write_weight_only

        return write_weight_only(graph, out, bits=bits, form="dequantize" if self._portable else "matmul_nbits")

    def _half(self, dtype: Literal["float16", "bfloat16"], role: Role, graph: Path, out: Path) -> Recipe:
        from limbeck.quantize.half import write_half
        from limbeck.quantize.islands import find_islands

        islands = find_islands(graph, self._feeds(role), dtype=dtype)
        return write_half(graph, out, dtype=dtype, islands=[island.node for island in islands])

    def _static(self, role: Role, graph: Path, out: Path) -> Recipe:
        from limbeck.quantize.static_int8 import write_static_int8

        ranges = self._ranges(role, graph)
        return write_static_int8(graph, out, ranges=ranges, form=self._form, calibration=self._calibration.recipe())

    def _mixed(self, role: Role, graph: Path, out: Path) -> Recipe:
        from limbeck.quantize.sensitivity import Sensitivity, plan_mixed, write_mixed

        ranges = self._ranges(role, graph)
        sensitivity = Sensitivity(graph, self._feeds(role), ranges, form=self._form)
        plan = plan_mixed(sensitivity, max_error=MIXED_MAX_ERROR)
        recipe = self._calibration.recipe()
        return write_mixed(graph, out, plan, ranges=ranges, form=self._form, calibration=recipe)

    def _ranges(self, role: Role, graph: Path) -> dict[str, Range]:
        from limbeck.quantize.ranges import gather_ranges
        from limbeck.quantize.static_int8 import activations

        return gather_ranges(graph, activations(graph, form=self._form), self._feeds(role))

    def _feeds(self, role: Role) -> Sequence[Mapping[str, Array]]:
        if role == "shallow" and self._cut_trunk is not None:
            with compile(self._cut_trunk, self._reference) as engine:
                return [{**feeds, "middle": engine.run(feeds)["middle"]} for feeds in self._feeds("trunk")]
        found = self._calibration.feeds.get(role)
        if not found:
            recorded = ", ".join(self._calibration.feeds)
            raise ConfigError(
                f"there are no calibration feeds for the {role}: denoising runs only {recorded}; "
                "use a precision that needs none: int8, w8, w4"
            )
        return found

    @cached_property
    def _calibration(self) -> Calibration:
        from limbeck.quantize.calibration import TrajectorySettings, record_trajectories

        known = isinstance(self._pack.manifest.denoiser, DenoiserInfo)  # of these calibration takes classes by itself
        settings = TrajectorySettings(seed=self._seed, classes=None if known else COMMON_CLASSES)
        return record_trajectories(self._pack, self._reference, settings)
