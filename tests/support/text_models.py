"""`Models` whose denoiser is conditioned on text, in closed form: a prompt means the class that it names.

models = text_models()                    # classes "class 0", "class 1", …, as `gaussian_models`
models.denoiser.prompts                   # what each call of the denoiser was told, a list a call
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace

import numpy as np

from limbeck.arrays import Features, Latents, Times
from limbeck.diffusion.base import Condition
from limbeck.diffusion.text_condition import TextCondition
from limbeck.errors import ConfigError
from limbeck.models import Models, Part
from limbeck.testing.gaussian import ClassIdCondition, GaussianDenoiser
from limbeck.testing.models import PARTS, closed_form_models

WIDTH = 8


@dataclass(frozen=True)
class NamedConditioning:
    """Prompts as they are; a class is its name, and must be known."""

    class_names: tuple[str, ...]

    def of_classes(self, names: Sequence[str]) -> TextCondition:
        if unknown := sorted(set(names) - set(self.class_names)):
            raise ConfigError(f"unknown classes {unknown}; there are {list(self.class_names)}")
        return self.of_prompts(names)

    def of_prompts(self, prompts: Sequence[str]) -> TextCondition:
        return TextCondition(tuple(prompts))

    def null(self, batch: int) -> TextCondition:
        return TextCondition(("",) * batch)


@dataclass(frozen=True)
class PromptedDenoiser:
    """The Gaussian denoiser of the class that a prompt names, of the null condition if it names none."""

    inner: GaussianDenoiser
    prompts: list[tuple[str, ...]] = field(default_factory=list)

    def __call__(self, latents: Latents, times: Times, condition: Condition) -> Latents:
        assert isinstance(condition, TextCondition)
        self.prompts.append(condition.prompts)
        return self.inner(latents, times, ClassIdCondition(tuple(self._class_of(p) for p in condition.prompts)))

    def _class_of(self, prompt: str) -> int:
        names = self.inner.conditioning.class_names
        return next((i for i, name in enumerate(names) if name in prompt), len(names))


@dataclass(frozen=True)
class WordFeatures:
    """A text is the sum of its words, each a fixed random direction; a token is a word."""

    max_tokens: int = 12

    def width(self, pooling: str) -> int:
        return WIDTH

    def features(self, texts: Sequence[str], *, pooling: str) -> Features:
        return np.stack([sum((_direction(word) for word in text.split()), np.zeros(WIDTH)) for text in texts]).astype(
            np.float32
        )

    def num_tokens(self, text: str) -> int:
        return len(text.split())


def text_models(*, bucket: int = 4, needs: AbstractSet[Part] = PARTS | {"text"}) -> Models:
    """As `closed_form_models`, told in words."""
    models = closed_form_models(bucket=bucket, needs=needs - {"text"})
    assert isinstance(models.denoiser, GaussianDenoiser)
    return replace(
        models,
        denoiser=PromptedDenoiser(models.denoiser),
        conditioning=NamedConditioning(models.denoiser.conditioning.class_names),
        text=WordFeatures(),
    )


def _direction(word: str) -> np.ndarray:
    seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "little")
    return np.random.default_rng(seed).normal(size=WIDTH)
