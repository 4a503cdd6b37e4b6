"""A teacher: what says how much an image looks like each class.

The pack's backbone with a linear head is one that needs no torch; a trained student network is another
(`limbeck.evaluate.training`).
"""

from __future__ import annotations

import hashlib
from typing import Protocol

import numpy as np

from limbeck.arrays import Array, Images
from limbeck.backbone import PackBackbone
from limbeck.labels.features import features_of, features_of_all
from limbeck.labels.pixels import Pixels
from limbeck.linear_head import LinearHead, fit_head


class Teacher(Protocol):
    """Labels images."""

    @property
    def key(self) -> str:
        """What stored labels are known by: another teacher has another."""
        ...

    def logits(self, images: Images) -> Array:
        """One row an image, one column a class, at temperature 1; `images` are square, in [0, 1], of any size."""
        ...


class LinearTeacher:
    """A pack's backbone with a linear head.

    Args:
        backbone: Gives the features; it must stay open.
        head: Says what they mean.
    """

    def __init__(self, backbone: PackBackbone, head: LinearHead) -> None:
        self._backbone, self._head = backbone, head
        content = hashlib.sha256(head.weight.tobytes() + head.bias.tobytes()).hexdigest()
        self.key = f"linear head {content[:16]} on {backbone.key[:16]}"

    def logits(self, images: Images) -> Array:
        return self._head.logits(features_of(self._backbone, images))

    @classmethod
    def fit(cls, backbone: PackBackbone, real: Pixels, *, batch: int = 64) -> LinearTeacher:
        """Logistic regression on the features of all real images, none of them augmented."""
        return cls(backbone, fit_head(features_of_all(backbone, real, batch=batch), real.labels))


def accuracy(teacher: Teacher, test: Pixels, *, batch: int = 64) -> float:
    """The share of `test` whose own class has the teacher's highest logit, 0..1."""
    starts = range(0, len(test.labels), batch)
    answers = [teacher.logits(test.floats(slice(start, start + batch))).argmax(axis=1) for start in starts]
    return float(np.mean(np.concatenate(answers) == test.labels))
