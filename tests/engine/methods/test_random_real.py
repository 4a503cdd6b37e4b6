from __future__ import annotations

from collections import Counter

import numpy as np

from limbeck.methods.base import DistilledImages
from limbeck.methods.random_real import RandomReal
from limbeck.testing.models import closed_form_models
from limbeck.testing.sources import ArraySource


def test_every_image_is_chosen_equally_often_over_seeds() -> None:
    source = ArraySource({"class 0": np.full((5, 3, 16, 16), 0.5, np.float32)})
    times: Counter[object] = Counter()
    for seed in range(1000):
        method = RandomReal(ipc=2, seed=seed)
        for event in method.distill(method.units(source), source, closed_form_models()):
            if isinstance(event, DistilledImages):
                times.update(row["source_image"] for row in event.rows)
    # 2 of 5 in 1000 draws: 400 times each, with a standard deviation of 15.5
    assert all(abs(count - 400) < 5 * 15.5 for count in times.values())
    assert len(times) == 5
