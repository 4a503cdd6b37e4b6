"""Text prototypes: some captions of a class become the one prompt that stands for them.

A language model merges them, or the caption with the most frequent words is taken. Whatever it is, it must name the
class and fit the text encoder: what does not is replaced, and the reason is written down.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from limbeck.text.endpoint import Question

By = Literal["model", "caption", "name and caption", "name"]

_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_LEAD_IN = re.compile(r"^[^:\n]{0,60}\b(?:caption|sentence)\b[^:\n]{0,60}:", re.IGNORECASE)
_AROUND = " \t\n\"'“”‘’*`-•"


@dataclass(frozen=True)
class Prompt:
    """What a denoiser is told.

    Args:
        text: It.
        by: Who wrote it: a language model, the captions, or the class's name with or without a caption.
        reason: Why it is not what was asked for first; "" if it is.
    """

    text: str
    by: By
    reason: str = ""


class LanguageModel(Protocol):
    """Answers questions."""

    def answers(self, questions: Iterable[Question]) -> Iterator[str]:
        """One answer a question, in their order."""
        ...


def merging_question(class_name: str, captions: Sequence[str], *, max_tokens: int) -> Question:
    """Asks for one caption in place of several, as EDITS does."""
    listed = "\n".join(f"- {caption}" for caption in captions)
    # three tokens for four words, and some to spare
    words = max(max_tokens * 3 // 5, 5)
    names = names_of(class_name)
    return Question(
        f"These captions describe pictures of {names[0]}:\n{listed}\n"
        f"Write one caption of at most {words} words that says what they have in common. It must contain "
        f"{' or '.join(repr(name) for name in names)}. Answer with the caption alone."
    )


def cleaned(answer: str) -> str:
    """The caption in a model's answer, on one line: without "The caption is:", bullets, quotes and what follows it."""
    text = _LEAD_IN.sub("", answer.strip().strip(_AROUND))
    first = re.split(r"\n\s*\n|\n\s*[-*•]", text.strip(_AROUND))[0]
    return " ".join(first.split()).strip(_AROUND)


def frequent_words(captions: Sequence[str], *, num_words: int, max_document_frequency: float) -> frozenset[str]:
    """The words that tell a class: those in most captions, without those in nearly all (VLCP, arXiv 2506.23580).

    Args:
        captions: Of the class.
        num_words: How many words at most; of equally frequent ones the first by alphabet.
        max_document_frequency: Words in a larger part of the captions than this tell nothing, 0..1.
    """
    counts = Counter(word for caption in captions for word in _words(caption))
    limit = max_document_frequency * len(captions)
    telling = sorted((word for word, count in counts.items() if count <= limit), key=lambda word: (-counts[word], word))
    return frozenset(telling[:num_words])


def chosen_caption(captions: Sequence[str], frequent: frozenset[str]) -> str:
    """The caption with the most of the frequent words; of equals the first (VLCP, arXiv 2506.23580)."""
    return max(captions, key=lambda caption: len(_words(caption) & frequent))


def names_class(text: str, class_name: str) -> bool:
    """Whether `text` has the class's name, or one of its synonyms between commas, as whole words in any case."""
    spaced = text.casefold().replace("_", " ")
    return any(
        re.search(rf"(?<!\w){re.escape(name.casefold().replace('_', ' '))}(?!\w)", spaced)
        for name in names_of(class_name)
    )


def names_of(class_name: str) -> list[str]:
    """The class's name and its synonyms, which stand between commas: "tench, Tinca tinca" is two."""
    return [name.strip() for name in class_name.split(",") if name.strip()] or [class_name]


def first_that_fits(
    candidates: Sequence[tuple[By, str]],
    *,
    class_name: str,
    num_tokens: Callable[[str], int],
    max_tokens: int,
) -> Prompt:
    """The first candidate that names the class and is not too long, with the reasons against those before it.

    The last candidate is taken whatever it is: it must be the best that can be had.

    Args:
        candidates: Who wrote it, and the text.
        class_name: What must be in it; synonyms between commas.
        num_tokens: How many tokens the text encoder makes of a text.
        max_tokens: How many it takes.
    """
    reasons: list[str] = []
    for by, text in candidates:
        fault = _fault(text, class_name, num_tokens(text), max_tokens)
        if not fault:
            return Prompt(text, by, "; ".join(reasons))
        reasons.append(f"{by}: {fault}")
    by, text = candidates[-1]
    return Prompt(text, by, "; ".join(reasons))


def _fault(text: str, class_name: str, tokens: int, max_tokens: int) -> str:
    if not names_class(text, class_name):
        return f"{text[:60]!r} does not name '{class_name}'"
    if tokens > max_tokens:
        return f"{text[:60]!r} has {tokens} tokens, the text encoder takes {max_tokens}"
    return ""


def _words(caption: str) -> frozenset[str]:
    return frozenset(_WORD.findall(caption.casefold()))
