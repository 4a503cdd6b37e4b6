"""The one randomness rule: every random number comes from `(seed, class, index, use)`.

The generator is counter-based (Philox; Salmon et al., SC 2011), keyed by a hash of those four. What an image gets
depends on nothing that ran before it, nor on the worker, the batch it shared or the memory there was.
"""

from __future__ import annotations

import hashlib

import numpy as np


def generator(seed: int, class_name: str, index: int, use: str) -> np.random.Generator:
    """A generator for one use of one image.

    Args:
        seed: The job's seed.
        class_name: The class by name, so that leaving another class out of a source changes nothing here.
        index: Which image of the class.
        use: What the numbers are for ("noise", "posterior", …); another use is another stream.
    """
    return np.random.Generator(np.random.Philox(key=_hash(seed, class_name, index, use) % 2**128))


def small_seed(seed: int, class_name: str, use: str) -> int:
    """A 32-bit seed for libraries that take an integer, from the same rule."""
    return _hash(seed, class_name, 0, use) % 2**32


def _hash(seed: int, class_name: str, index: int, use: str) -> int:
    # repr quotes the strings, so no two different tuples have the same text
    text = repr((seed, class_name, index, use))
    return int.from_bytes(hashlib.sha256(text.encode()).digest(), "little")
