"""The precisions an engine can have, and how near each promises to stay to the network it came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Precision:
    """A precision and its promise.

    Args:
        name: As manifests write it.
        tolerance: The largest relative L2 error of an output against the network in float32, on random input.
    """

    name: Literal["fp32", "fp16", "int8"]
    tolerance: float


FP32 = Precision("fp32", 1e-4)
"""Runtimes sum in another order than torch: 1e-7 to 1e-5 was measured on 28 blocks and on group-norm stacks. A
wrong constant, such as an epsilon of 1e-6 for 1e-5, shows at about 1e-3."""

FP16 = Precision("fp16", 1e-2)
"""Eleven bits of significand, through 28 residual blocks: 2e-3 was measured on a DiT."""

INT8 = Precision("int8", 5e-2)
"""Eight-bit weights and activations, one scale a channel: 1.7e-2 to 2.4e-2 was measured on DiT-XL/2. That such an
engine is also good enough is for the quality gate to say, on distillation's own metrics."""
