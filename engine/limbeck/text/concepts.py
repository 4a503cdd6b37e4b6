"""Captions from a template: the class, and what else an image looks like to a linear classifier.

No captioner is needed: a classifier on a frozen backbone's features says which of some concepts an image is nearest to,
"a photo of 3, somewhat like 2 and W". That tells images of a class apart by what they are mistaken for, and by nothing
else: it is no description.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from limbeck.arrays import Array, ClassIds, Features
from limbeck.errors import ConfigError, DataError

TEMPLATE = "a photo of {name}, somewhat like {concepts}"
_NAME, _CONCEPTS = "{name}", "{concepts}"
_BLANK = re.compile(f"{re.escape(_NAME)}|{re.escape(_CONCEPTS)}")


@dataclass(frozen=True)
class Concepts:
    """Things an image may look like, and how much it does.

    Args:
        names: One word or few, each.
        weights: Shape (concepts, dimensions).
        biases: Shape (concepts,).
        unit: Whether features are scaled to unit length first: a score is a cosine then.
    """

    names: tuple[str, ...]
    weights: Array
    biases: Array
    unit: bool

    @classmethod
    def of_classes(cls, features: Features, labels: ClassIds, names: Sequence[str]) -> Self:
        """The classes of a source as concepts: logistic regression (L2, C=1), one direction a class.

        Args:
            features: Shape (images, dimensions), of images of every class.
            labels: Shape (images,), positions in `names`.
            names: At least two.

        Raises:
            DataError: There is one class only.
        """
        from sklearn.linear_model import LogisticRegression

        if len(names) < 2:
            raise DataError("one class alone is like no other; give concepts of your own, or captions in a file")
        fitted = LogisticRegression(max_iter=5000).fit(features, labels)
        weights, biases = fitted.coef_, fitted.intercept_
        if len(names) == 2:  # one direction, from the first class to the second
            weights, biases = np.concatenate([-weights, weights]), np.concatenate([-biases, biases])
        return cls(tuple(names), weights, biases, unit=False)

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Concepts of the user's own: an npz file with `names` (n,) and `vectors` (n, dimensions) among the features.

        Raises:
            DataError: The file is not of this form.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                names, vectors = file["names"], np.asarray(file["vectors"], np.float32)
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise DataError(f"concepts {path} cannot be read, an npz file with names and vectors: {error}") from error
        if vectors.ndim != 2 or names.shape != vectors.shape[:1] or not np.isfinite(vectors).all():
            raise DataError(
                f"concepts {path} have names {names.shape} and vectors {vectors.shape}; they must be (n,) and "
                "(n, dimensions), all finite"
            )
        return cls(tuple(str(name) for name in names), _unit(vectors), np.zeros(len(vectors)), unit=True)

    def nearest(self, features: Features, count: int, *, but: str) -> Iterator[tuple[str, ...]]:
        """For each image the `count` concepts that it is most like, the most first, `but` left out.

        Raises:
            DataError: The features have other dimensions than the concepts.
        """
        if features.shape[1] != self.weights.shape[1]:
            raise DataError(
                f"concepts have {self.weights.shape[1]} dimensions, the backbone's features {features.shape[1]}; "
                "make them with this backbone"
            )
        scores = (_unit(features) if self.unit else features) @ self.weights.T + self.biases
        for order in np.argsort(-scores, axis=1, kind="stable"):
            others = [self.names[i] for i in order if self.names[i].casefold() != but.casefold()]
            yield tuple(others[:count])


def refuse_template(template: str) -> None:
    """Refuse a template without the class's name, or without concepts.

    Raises:
        ConfigError: With one that works.
    """
    if _NAME not in template or _CONCEPTS not in template:
        raise ConfigError(f"template {template!r} must hold {_NAME} and {_CONCEPTS}, as {TEMPLATE!r}")


def template_caption(template: str, name: str, concepts: Sequence[str]) -> str:
    """A caption: `template` with the class's name, and "a, b and c" of the concepts."""
    listed = " and ".join([", ".join(concepts[:-1]), concepts[-1]] if len(concepts) > 1 else concepts)
    said = {_NAME: name, _CONCEPTS: listed}
    return _BLANK.sub(lambda blank: said[blank[0]], template)


def _unit(rows: Array) -> Array:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(length > 0, length, 1)
