"""Ways to compare the gradients that images give a linear classifier, and how each changes with the features.

**Statistical flow** (SFM): for a random head the expected gradient of class c points from the mean of c to that of the
others, so it is enough to match f_c = (S - mu_c) / (C - 1) - mu_c, where S is the sum of the classes' means; or both
ends of it apart, which fixes the means themselves and not only the directions between them.

**Gradient matching** (LGM, Cazenavette et al. 2025): for one drawn head, its own gradient on both sets. It is explicit,
(P - Y)' Z / N for the weights and the mean of P - Y for the bias, so no second backward pass is needed.

Both losses are 1 - cos over all classes at once; of the two ends, a mean square. All in float64.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from limbeck_kernels.softmax import softmax

Matrix = NDArray[np.float64]


def flow(means: NDArray[np.floating], divisor: float) -> Matrix:
    """f_c = (S - mu_c) / divisor - mu_c for each row mu_c of `means`; the rows sum to 0 if `divisor` is their number
    less one, as it is for a mean of the other classes."""
    wide = means.astype(np.float64)
    return _others(wide, divisor) - wide


def flow_loss(
    features: NDArray[np.floating], membership: NDArray[np.floating], target: Matrix, divisor: float
) -> tuple[float, Matrix]:
    """The loss of statistical flow matching, and its gradient with respect to the features.

    Args:
        features: Shape (images, dimensions).
        membership: Shape (images, classes): one over the number of images of its class.
        target: The real flow, shape (classes, dimensions).
        divisor: Of the synthetic flow; the number of classes less one. The official code has the number of images less
            one, which shrinks the mean of the other classes where a class has several.
    """
    weights = membership.astype(np.float64)
    loss, slope = cosine_loss(flow(weights.T @ features.astype(np.float64), divisor), target)
    return loss, weights @ flow(slope, divisor)  # the flow is a symmetric matrix on the classes


def means_loss(
    features: NDArray[np.floating],
    membership: NDArray[np.floating],
    target: NDArray[np.floating],
    divisor: float,
    *,
    alpha: float,
) -> tuple[float, Matrix]:
    """Statistical flow matching of both ends apart, and its gradient with respect to the features.

    alpha * MSE(mu_c) + (1 - alpha) * MSE((S - mu_c) / divisor), each a mean over classes and dimensions.

    Args:
        features: Shape (images, dimensions).
        membership: Shape (images, classes): one over the number of images of its class.
        target: The means of the real classes, shape (classes, dimensions).
        divisor: Of the synthetic means of the other classes, as for `flow_loss`; the real ones have the number of
            classes less one.
        alpha: What the means of the classes count for, 0..1; the means of the others count for the rest.
    """
    weights, wide = membership.astype(np.float64), target.astype(np.float64)
    means = weights.T @ features.astype(np.float64)
    own, others = means - wide, _others(means, divisor) - _others(wide, len(wide) - 1)
    loss = alpha * np.square(own).mean() + (1 - alpha) * np.square(others).mean()
    slope = (alpha * own + (1 - alpha) * _others(others, divisor)) * (2 / own.size)  # `_others` is symmetric
    return float(loss), weights @ slope


def cosine_loss(found: Matrix, target: Matrix) -> tuple[float, Matrix]:
    """1 - cos of two matrices taken as vectors, and its gradient with respect to the first."""
    lengths = np.linalg.norm(found) * np.linalg.norm(target)
    cosine = float((found * target).sum() / lengths)
    return 1 - cosine, cosine * found / np.square(found).sum() - target / lengths


def head_gradient(features: Matrix, labels: NDArray[np.int64], weight: Matrix) -> Matrix:
    """The gradient of the mean cross entropy of a linear head with zero bias, shape (classes, dimensions + 1).

    Args:
        features: Shape (images, dimensions).
        labels: Shape (images,).
        weight: Shape (classes, dimensions).

    Returns:
        (P - Y)' [Z 1] / N: the weights' gradient, with the bias's as last column.
    """
    errors = _errors(features, labels, weight)
    gradient: Matrix = errors.T @ _with_ones(features) / len(features)
    return gradient


def head_gradient_adjoint(slope: Matrix, features: Matrix, labels: NDArray[np.int64], weight: Matrix) -> Matrix:
    """The gradient of the features, shape (images, dimensions), from that of `head_gradient`."""
    probabilities = softmax(features @ weight.T)
    errors = _errors(features, labels, weight)
    at_errors = _with_ones(features) @ slope.T / len(features)
    at_logits = probabilities * (at_errors - (probabilities * at_errors).sum(axis=1, keepdims=True))
    gradient: Matrix = errors @ slope[:, :-1] / len(features) + at_logits @ weight
    return gradient


def _others(means: Matrix, divisor: float) -> Matrix:
    """(S - mu_c) / divisor for each row mu_c."""
    others: Matrix = (means.sum(axis=0) - means) / divisor
    return others


def _errors(features: Matrix, labels: NDArray[np.int64], weight: Matrix) -> Matrix:
    """P - Y."""
    errors = softmax(features @ weight.T)
    errors[np.arange(len(labels)), labels] -= 1
    return errors


def _with_ones(features: Matrix) -> Matrix:
    return np.concatenate([features, np.ones((len(features), 1))], axis=1)
