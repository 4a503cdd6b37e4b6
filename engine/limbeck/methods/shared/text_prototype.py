"""Text prototypes: the captions nearest to a cluster's center become one prompt (EDITS)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from limbeck.errors import ConfigError
from limbeck.text.answers import AnswerStore
from limbeck.text.endpoint import Endpoint, EndpointSettings
from limbeck.text.local_llm import LocalModel
from limbeck.text.prompts import (
    By,
    LanguageModel,
    Prompt,
    chosen_caption,
    cleaned,
    first_that_fits,
    frequent_words,
    merging_question,
    names_of,
)

Writer = Literal["caption", "endpoint", "local"]
"""Who writes a prompt: the captions choose one of themselves, a language model merges them elsewhere, or here."""


@contextmanager
def language_model(
    writer: Writer, endpoint: EndpointSettings | None, local_model: str
) -> Iterator[LanguageModel | None]:
    """The language model that `writer` needs, closed at the end of the block; None where it needs none.

    Raises:
        ConfigError: Its extra is not installed, or it cannot be loaded.
    """
    if writer == "endpoint" and endpoint is not None:
        with Endpoint(endpoint, AnswerStore()) as model:
            yield model
    else:
        yield LocalModel(local_model) if writer == "local" else None


def refuse_writer(writer: Writer, endpoint: EndpointSettings | None, local_model: str) -> None:
    """Refuse a writer without what it needs.

    Raises:
        ConfigError: With what would work.
    """
    if writer == "endpoint" and endpoint is None:
        raise ConfigError(
            "prompts=endpoint needs to know which: "
            'endpoint={"url": "http://localhost:8080/v1", "model": "NAME"}, or prompts=caption'
        )
    if writer == "local" and not local_model:
        raise ConfigError("prompts=local needs a model: local_model=FILE.gguf, or prompts=caption")


@dataclass(frozen=True)
class TextPrototypes:
    """Writes prompts that a text encoder can take whole.

    A prompt that is too long gives way to the next candidate; EDITS' release cuts it at 77 tokens, of which the class's
    name may be lost.

    Args:
        model: Merges captions; None leaves one of them as it is.
        num_tokens: How many tokens the text encoder makes of a text.
        max_tokens: How many it takes.
        num_words: Of `frequent_words`.
        max_document_frequency: Of `frequent_words`.
    """

    model: LanguageModel | None
    num_tokens: Callable[[str], int]
    max_tokens: int
    num_words: int
    max_document_frequency: float

    def of(self, class_name: str, clusters: Sequence[Sequence[str]], captions: Sequence[str]) -> Iterator[Prompt]:
        """A prompt for each cluster of a class, one after another.

        Args:
            class_name: What every prompt must name; synonyms between commas.
            clusters: For each, the captions nearest to its center, the nearest first.
            captions: All captions of the class, for how frequent words are.

        Raises:
            EndpointError: The language model gave no answer.
        """
        frequent = frequent_words(
            captions, num_words=self.num_words, max_document_frequency=self.max_document_frequency
        )
        for merged, cluster in zip(self._merged(class_name, clusters), clusters, strict=True):
            chosen = chosen_caption(cluster, frequent)
            own: list[tuple[By, str]] = [
                ("caption", chosen),
                ("name and caption", f"{names_of(class_name)[0]}, {chosen}"),
                ("name", class_name),
            ]
            yield first_that_fits(
                [("model", merged), *own] if merged is not None else own,
                class_name=class_name,
                num_tokens=self.num_tokens,
                max_tokens=self.max_tokens,
            )

    def _merged(self, class_name: str, clusters: Sequence[Sequence[str]]) -> Iterator[str | None]:
        if self.model is None:
            yield from [None] * len(clusters)
            return
        questions = (merging_question(class_name, cluster, max_tokens=self.max_tokens) for cluster in clusters)
        yield from map(cleaned, self.model.answers(questions))
