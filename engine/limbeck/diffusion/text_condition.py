"""Conditions for a network that understands text: one prompt a sample.

A condition is only the prompts. What a denoiser computes of a prompt (7.7 MB of keys and values in SD 1.5) it keeps
once, whatever the number of samples that share it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from limbeck.arrays import Array
from limbeck.diffusion.batching import in_buckets
from limbeck.diffusion.table import RowTable
from limbeck.engine import Runnable
from limbeck.imagenet import in_words
from limbeck.pack import NAME, UnetInfo


@dataclass(frozen=True)
class TextCondition:
    """One prompt for each sample."""

    prompts: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.prompts)

    def take(self, rows: Sequence[int]) -> Self:
        """The condition of these samples, in this order."""
        return type(self)(tuple(self.prompts[row] for row in rows))

    def join(self, other: Self) -> Self:
        """This condition's rows, then the other's."""
        return type(self)(self.prompts + other.prompts)


class TextConditioning:
    """Class names to prompts, by the template of a pack.

    Every name is known: what a network makes of a word that it never saw is not for this layer to say. D4M's prompt is
    the name itself, with its synonyms ("tench, Tinca tinca"), which a WordNet id of ImageNet's stands for.
    """

    def __init__(self, info: UnetInfo) -> None:
        """Keep the pack's template and its prompt for no condition."""
        self._template = info.prompt
        self._null = info.null_prompt

    def of_classes(self, names: Sequence[str]) -> TextCondition:
        """One row a name."""
        return self.of_prompts([self._template.replace(NAME, in_words(name)) for name in names])

    def of_prompts(self, prompts: Sequence[str]) -> TextCondition:
        """One row a prompt, as it is."""
        return TextCondition(tuple(prompts))

    def null(self, batch: int) -> TextCondition:
        """`batch` rows of the prompt for no condition."""
        return TextCondition((self._null,) * batch)


class PromptTable:
    """What a trunk needs of each prompt: keys and values, or the text encoder's states for a trunk that takes those.

    Args:
        tokenize: Prompts to token ids, shape (prompts, tokens).
        text_encoder: Engine from token ids to states.
        conditioner: Engine from states to keys and values, None if the trunk takes the states.
        bucket: Prompts in one engine call; fewer are padded to it.
        table_nbytes: The most memory that remembered rows may take; the least recently used go first.
    """

    def __init__(
        self,
        tokenize: Callable[[Sequence[str]], NDArray[np.int64]],
        text_encoder: Runnable,
        conditioner: Runnable | None,
        *,
        bucket: int,
        table_nbytes: int,
    ) -> None:
        """Keep the engines; they are closed by whoever compiled them."""
        self._tokenize = tokenize
        self._engines = [text_encoder] if conditioner is None else [text_encoder, conditioner]
        self._bucket = bucket
        self._table: RowTable[str] = RowTable(table_nbytes)

    def rows(self, prompts: Iterable[str]) -> dict[str, dict[str, Array]]:
        """The row of every prompt, without the batch; both engines run once for those that are new."""
        asked = set(prompts)
        rows = {prompt: row for prompt in asked if (row := self._table.get(prompt)) is not None}
        new = sorted(asked - rows.keys())
        if new:
            made: dict[str, Array] = {"token_ids": self._tokenize(new)}
            for engine in self._engines:
                made = in_buckets(engine.run, made, bucket=self._bucket)
            for i, prompt in enumerate(new):
                # a copy: a view would keep the rows of all new prompts alive
                rows[prompt] = {name: array[i].copy() for name, array in made.items()}
                self._table.put(prompt, rows[prompt])
        return rows
