"""Running any number of samples through an engine in buckets of one size.

A batch is cut into buckets and the last one padded, never to a new shape: a runtime may choose other kernels for
other shapes, and an image must depend on its seed and the bucket alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from limbeck.arrays import Array


def in_buckets(
    run: Callable[[Mapping[str, Array]], dict[str, Array]], feeds: Mapping[str, Array], *, bucket: int
) -> dict[str, Array]:
    """Run `feeds`, whose arrays share their first dimension, through `run` in calls of exactly `bucket` rows.

    Padding repeats the last row, which every network can digest, and is cut off the outputs.
    """
    (rows,) = {len(array) for array in feeds.values()}
    parts = []
    for start in range(0, rows, bucket):
        part = {name: array[start : start + bucket] for name, array in feeds.items()}
        short = bucket - min(bucket, rows - start)
        if short:
            part = {name: np.concatenate([a, np.repeat(a[-1:], short, axis=0)]) for name, a in part.items()}
        parts.append({name: array[: bucket - short] for name, array in run(part).items()})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
