"""Adam (Kingma & Ba, ICLR 2015, algorithm 1) on one array."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


@dataclass(frozen=True, eq=False)
class Adam:
    """Both running moments of the gradient, each of the array's shape, after `steps` steps."""

    first: Floats
    second: Floats
    steps: int = 0

    @classmethod
    def fresh(cls, values: Floats) -> Self:
        """Before the first step on `values`."""
        return cls(np.zeros_like(values), np.zeros_like(values))

    def step(self, values: Floats, gradient: Floats, *, rate: float) -> tuple[Floats, Adam]:
        """The values one step on, and the moments after it; nothing given is changed."""
        steps = self.steps + 1
        first = (self.first + np.float32(1 - BETA1) * (gradient - self.first)).astype(np.float32, copy=False)
        second = (self.second + np.float32(1 - BETA2) * (gradient**2 - self.second)).astype(np.float32, copy=False)
        length = np.sqrt(second) / np.float32(np.sqrt(1 - BETA2**steps)) + np.float32(EPSILON)
        moved = values - np.float32(rate / (1 - BETA1**steps)) * first / length
        return moved.astype(np.float32, copy=False), Adam(first, second, steps)
