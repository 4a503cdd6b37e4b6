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

FP16 = Precision("fp16", 1e-2)
"""Measured on the mini pack with every operation rounded (torch): 3e-4 to 2.5e-3 with the islands that the probe finds.
ONNX Runtime's CPU computes float16 graphs in float32 and so shows less. An overflow or a lost sum shows far above."""

BF16 = Precision("bf16", 6e-2)
"""An eighth of float16's accuracy: 4e-3 to 1.2e-2 measured on the mini pack's codec and conditioner, 3e-2 on its
backbone, 49 convolutions deep."""

INT8 = Precision("int8", 0.1)
"""Ranges are those of the run, so it holds on any feeds. A random layer loses 1e-2, half of it to its weights: 0.9e-2
to 2e-2 measured on DiT trunks, 1e-2 on the mini pack's conditioner, 5e-2 on its backbone, whose ReLU6 and depthwise
layers average little out."""

W8 = Precision("w8", 3e-2)
"""A random layer loses 5e-3, the rounding of its weights: 1e-3 to 8e-3 measured on the mini pack. No activation is
rounded."""

W4 = Precision("w4", 0.3)
"""Fifteen levels: 2e-2 to 0.14 measured on the mini pack, 9.8e-2 on DiT-XL/2. For memory; the gate decides."""

INT8_STATIC = Precision("int8-static", 0.15)
"""On feeds like those of the calibration only: 1.1e-2 to 5.3e-2 measured on the mini pack's denoiser and codec, 0.1 on
its backbone, whose depthwise convolutions have few weights a channel. On feeds outside the calibrated ranges there is
no promise: standard normal modulations, which no trunk ever sees, gave 0.24."""

MIXED = Precision("mixed", 0.15)
"""What int8-static promises; the error target that the layers were chosen under is smaller and stands in the recipe."""

PRECISIONS: Mapping[PrecisionName, Precision] = {
    each.name: each for each in (FP32, FP16, BF16, INT8, INT8_STATIC, W8, W4, MIXED)
}
