"""Global semantic query: each image asks the captions of its class, and is joined with what they answer (EDITS).

    A = softmax(I Tᵀ / tau)      how much each caption says of each image
    f = concat(I, A T)           what images are clustered by

The paper's I and T are CLIP's, whose products mean something. Where images and texts come from networks that were not
trained together, I Tᵀ means nothing; `in_text_space` makes a substitute of the class's own pairs.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from limbeck.arrays import Array, Features
from limbeck.errors import ConfigError
from limbeck_kernels.attention_query import BLOCK, attended

_STRENGTHS = np.logspace(-2, 3, 11)
"""Of the ridge, in units of the mean squared singular value."""


def fused_features(
    images: Features, texts: Features, *, tau: float, normalize: bool = True, map_to_texts: bool = True
) -> Features:
    """What the images of a class are clustered by.

    Args:
        images: Shape (n, d), features of the images.
        texts: Shape (n, e), features of their captions.
        tau: Temperature of the query. Near 0 each image takes one caption, at infinity all alike.
        normalize: Scale all features to unit length first, as the paper has it. The official code computes that and
            then does not use it.
        map_to_texts: Ask with the image carried into the texts' space by `in_text_space`; otherwise with the image
            itself, for networks that were trained together.

    Returns:
        Shape (n, d + e).

    Raises:
        ConfigError: The features cannot be multiplied with each other.
    """
    queries = in_text_space(images, texts) if map_to_texts else images
    refuse_other_dimensions(queries.shape[1], texts.shape[1])
    if normalize:
        queries, images, texts = _unit(queries), _unit(images), _unit(texts)
    return np.concatenate([images, attended(queries, texts, texts, temperature=tau)], axis=1).astype(np.float32)


def refuse_other_dimensions(images: int, texts: int) -> None:
    """Refuse features of images and texts that cannot be multiplied with each other.

    Raises:
        ConfigError: With what would work.
    """
    if images != texts:
        raise ConfigError(
            f"images have {images} features and texts {texts}: they were not trained together; set joint=ridge, which "
            "maps one to the other, or take a pack from a Stable Diffusion and clip:NAME, with pooling=projected"
        )


def query_nbytes(images: int, features: int) -> int:
    """The most memory that `fused_features` and clustering its result take, in bytes.

    Args:
        images: How many.
        features: Dimensions of an image's and a caption's features together.
    """
    # the features in float64: centered, decomposed, mapped, fused, and copied by k-means; the weights of a block
    return 8 * images * (6 * features + 3 * min(images, BLOCK))


def in_text_space(images: Features, texts: Features) -> NDArray[np.float64]:
    """The caption that each image would have, told by a ridge regression on the *other* images and their captions.

    Leaving the image itself out matters: with more features than images a map that has seen it gives back its own
    caption, and every image would ask only itself. In closed form, with the hat matrix H of the regression with
    intercept: the prediction without pair i is y_i - (y_i - (H y)_i) / (1 - H_ii) (Allen 1974). The ridge's strength is
    the one whose predictions have the least squared error.

    Args:
        images: Shape (n, d).
        texts: Shape (n, e).

    Returns:
        Shape (n, e). A single image has no others; it gets its own caption.
    """
    n = len(images)
    y = texts.astype(np.float64)
    if n == 1:
        return y
    x = images.astype(np.float64)
    left, singular, _ = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
    squares, centered = singular**2, y - y.mean(axis=0)
    unit = max(float(squares.mean()), np.finfo(np.float64).tiny)
    best, least = y, np.inf
    for strength in _STRENGTHS * unit:
        shrunk = left * (squares / (squares + strength))
        residuals = centered - shrunk @ (left.T @ centered)
        leverage = (shrunk * left).sum(axis=1) + 1 / n
        residuals /= (1 - leverage)[:, None]
        if (error := float((residuals**2).sum())) < least:
            best, least = y - residuals, error
    return best


def _unit(rows: Array) -> Array:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(length > 0, length, 1)
