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

    name: Literal["fp32"]
    tolerance: float


FP32 = Precision("fp32", 1e-4)
"""Runtimes sum in another order than torch: 1e-7 to 1e-5 was measured on 28 blocks and on group-norm stacks. A
wrong constant, such as an epsilon of 1e-6 for 1e-5, shows at about 1e-3."""
