"""Fixtures that every test may use."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import settings

settings.register_profile("limbeck", deadline=None)  # a busy machine is no failure
settings.load_profile("limbeck")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20260101)
