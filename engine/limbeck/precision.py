"""The precisions an engine can have, and how near each promises to stay to the network it came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

PrecisionName = Literal["fp32", "fp16", "bf16", "int8", "int8-static", "w8", "w4", "mixed"]
"""As manifests write them. int8: weights and activations, activation ranges found at run time; int8-static: ranges
found by calibration; w8, w4: only the weights, the arithmetic is float32; mixed: a precision for each layer."""


@dataclass(frozen=True)
class Precision:
    """A precision and its promise.

    Args:
        name: As manifests write it.
        tolerance: The largest relative L2 error of an output against the network in float32, on random input.
    """

    name: PrecisionName
    tolerance: float


FP32 = Precision("fp32", 1e-4)
"""Runtimes sum in another order than torch: 1e-7 to 1e-5 was measured on 28 blocks and on group-norm stacks. A
wrong constant, such as an epsilon of 1e-6 for 1e-5, shows at about 1e-3."""

PRECISIONS: Mapping[PrecisionName, Precision] = {FP32.name: FP32}
