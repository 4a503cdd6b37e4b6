"""Conditions from prompts: each sample its own, and a negative prompt in place of no condition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Protocol, runtime_checkable

from limbeck.diffusion.base import Condition, Conditioning
from limbeck.errors import ConfigError
from limbeck.methods.shared.generation import Start
from limbeck.models import Models


@runtime_checkable
class PromptConditioning(Conditioning, Protocol):
    """Conditioning that takes prompts too."""

    def of_prompts(self, prompts: Sequence[str]) -> Condition:
        """One row a prompt."""
        ...


@dataclass(frozen=True)
class AwayFrom:
    """Conditioning whose null condition is a negative prompt.

    Args:
        inner: Makes the conditions.
        negative: What guidance leads away from.
    """

    inner: PromptConditioning
    negative: str

    def of_classes(self, names: Sequence[str]) -> Condition:
        return self.inner.of_classes(names)

    def of_prompts(self, prompts: Sequence[str]) -> Condition:
        """One row a prompt."""
        return self.inner.of_prompts(prompts)

    def null(self, batch: int) -> Condition:
        return self.inner.of_prompts([self.negative] * batch)


def away_from(models: Models, negative: str | None) -> Models:
    """Models whose guidance leads away from a negative prompt, or as they are where it is None.

    Raises:
        ConfigError: The conditioning knows classes alone.
    """
    if negative is None:
        return models
    return replace(models, conditioning=AwayFrom(prompting(models.conditioning), negative))


def takes_prompts(conditioning: Conditioning) -> bool:
    """Whether the denoiser is told in text."""
    return isinstance(conditioning, PromptConditioning)


def prompting(conditioning: Conditioning) -> PromptConditioning:
    """The same conditioning, known to take prompts.

    Raises:
        ConfigError: It knows classes alone.
    """
    if not isinstance(conditioning, PromptConditioning):
        raise ConfigError(
            "prompts need a denoiser that is conditioned on text, and this pack's knows classes alone; "
            "take the pack mini-text, or export a Stable Diffusion"
        )
    return conditioning


def condition_of(batch: Sequence[Start], conditioning: Conditioning) -> Condition:
    """Of each sample's prompt, or of its class where it has none.

    Raises:
        ConfigError: The conditioning knows classes alone.
    """
    made = prompting(conditioning)
    rows = [
        made.of_classes([start.class_name]) if start.prompt is None else made.of_prompts([start.prompt])
        for start in batch
    ]
    return reduce(lambda joined, row: joined.join(row), rows)
