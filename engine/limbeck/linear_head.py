"""A linear classifier on a backbone's features, and how it is trained on real ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from limbeck.arrays import Array, ClassIds, Features


@dataclass(frozen=True, eq=False)
class LinearHead:
    """`features @ weight.T + bias`.

    Args:
        weight: Shape (classes, dimensions).
        bias: Shape (classes,).
    """

    weight: Array
    bias: Array

    def logits(self, features: Features) -> Array:
        """Shape (batch, classes)."""
        return features @ self.weight.T + self.bias

    def accuracy(self, features: Features, labels: ClassIds) -> float:
        """Part of the images whose largest logit is that of their label, 0..1."""
        return float((self.logits(features).argmax(axis=1) == labels).mean())


def fit_head(features: Features, labels: ClassIds) -> LinearHead:
    """Logistic regression (L2, C=1) on features as they are; convex, so nothing is left to chance.

    Args:
        features: Shape (images, dimensions).
        labels: Shape (images,); every class from 0 to the last has an image, and there are two at least.
    """
    from sklearn.linear_model import LogisticRegression

    found = LogisticRegression(max_iter=5000).fit(features, labels)
    weight, bias = found.coef_, found.intercept_
    if len(found.classes_) == 2:  # scikit-learn gives only the difference of both
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    return LinearHead(weight.astype(np.float32), bias.astype(np.float32))
