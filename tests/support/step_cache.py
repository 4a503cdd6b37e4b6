"""Packs whose DiT is cut for a step cache."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

from limbeck.build.thresholds import THRESHOLDS, Metric, Threshold
from limbeck.pack import Pack

ANYTHING = {
    name: dataclasses.replace(threshold, value=1e9 if threshold.bound == "at most" else -1e9)
    for name, threshold in THRESHOLDS.items()
}
"""Thresholds that every figure holds: what is tested is what happens then, not whether the cache is any good."""


def nothing_but(metric: Metric, value: float) -> dict[Metric, Threshold]:
    """Thresholds that hold for anything but `metric`, whose limit is `value`."""
    return {**ANYTHING, metric: dataclasses.replace(THRESHOLDS[metric], value=value)}


def cut_mini(folder: Path) -> Pack:
    """A copy of the shipped pack in float32, cut."""
    from limbeck.export.step_cache import add_shallow

    shutil.copytree(Pack.open("mini").folder, folder)
    add_shallow(folder)
    return Pack.open(folder)
