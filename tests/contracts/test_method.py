"""What every method owes its runner, run on each of them.

The checks are `limbeck.testing.contract`'s, and the models are closed forms, so a method is tested here without a
network.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import pytest

from limbeck.methods import METHODS, make_method
from limbeck.testing.contract import CHECKS, Check, Subject
from limbeck.testing.sources import ArraySource, blobs
from support.text_models import text_models


def three_of_each_class() -> ArraySource:
    """What stands for a distilled set."""
    rng = np.random.default_rng(0)
    return ArraySource({f"class {i}": blobs(rng, center=0.3 + 0.2 * i, count=3) for i in range(3)})


QUICK: Mapping[str, Mapping[str, object]] = {
    "d4m": {"num_steps": 10, "batch_factor": 5},
    "d3hr": {"num_steps": 10, "num_groups": 20, "scratch_bytes": 2**16},
    "ddps": {"num_draws": 3, "feature_draws": 2, "windows_per_class": 20},
    "mgd3": {"num_steps": 10, "stop": 5},
    "minimax": {"num_steps": 10},
    "diver": {"num_steps": 10, "noise_level": 5, "reverse_start": 10, "window": (5, 8)},
    "sfm": {"num_steps": 9, "extend_every": 3, "checkpoint_every": 4},
    "lgm": {"num_steps": 9, "extend_every": 3, "checkpoint_every": 4},
    "edits": {"num_steps": 10, "captions": "class-names"},
}
"""Settings of a method with which it takes a moment."""

WORLDS: Mapping[str, Mapping[str, Any]] = {
    "diver": {"source": lambda count: three_of_each_class()},
    "herding": {"seeded": False},
    "kcenter": {"seeded": False},
    "rded": {"coupled": True},
    "sfm": {"image_size": 9, "coupled": True},
    "lgm": {"image_size": 9, "coupled": True},
    "edits": {"models": text_models},
}
"""What is different of a method: fields of its `Subject`."""

CASES = [(name, preset) for name in METHODS for preset in ("default", "faithful")]


@pytest.fixture(params=CASES, ids=lambda case: "-".join(case))
def subject(request: pytest.FixtureRequest) -> Subject:
    name, preset = request.param
    make = partial(make_method, name, preset=preset, settings=QUICK.get(name, {}))
    return Subject(make, **WORLDS.get(name, {}))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_method_keeps_the_contract(check: Check, subject: Subject) -> None:
    check(subject)
