"""The arithmetic of the tables: medians, spread, ratios, errors. Numbers in, numbers out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Seconds of repeated runs: the best, the quartiles around the median, and how many there were."""

    best: float
    lower: float
    median: float
    upper: float
    count: int


def spread(seconds: Sequence[float]) -> Spread:
    """Best and quartiles, interpolated linearly between runs."""
    lower, median, upper = np.percentile(seconds, (25, 50, 75))
    return Spread(best=min(seconds), lower=float(lower), median=float(median), upper=float(upper), count=len(seconds))


def relative_error(found: NDArray[Any], reference: NDArray[Any]) -> float:
    """The L2 norm of the difference over that of `reference`, in double precision; NaN if `found` is not finite."""
    if not np.isfinite(found).all():
        return float("nan")
    truth = reference.astype(np.float64)
    return float(np.linalg.norm(found.astype(np.float64) - truth) / np.linalg.norm(truth))


def gflops(flops: float, seconds: float) -> float:
    """10^9 operations a second."""
    return flops / seconds / 1e9


def heats(expected_gib: Mapping[str, float], *, anchor: str, room_gib: float) -> list[list[str]]:
    """Divide contestants into heats whose processes fit into memory together, the anchor in each of them.

    First fit in the order given. A contestant that fits beside no one but the anchor gets a heat of its own, even
    if it is expected to be too large: whether it runs is for the contest to find out.
    """
    left = room_gib - expected_gib[anchor]
    made: list[tuple[list[str], float]] = []
    for name, size in expected_gib.items():
        if name == anchor:
            continue
        for index, (members, free) in enumerate(made):
            if size <= free:
                made[index] = ([*members, name], free - size)
                break
        else:
            made.append(([anchor, name], left - size))
    return [members for members, _ in made] or [[anchor]]
