"""Captions of photos of hands: sentences about the digit and about what was measured of the photo, and nothing else.

    python -m tools.mini_text.captions          writes examples/data/sign_digits/train/metadata.jsonl

A caption names the digit, and some of the attributes that are clearly low or high. What it does not say is left open:
no caption claims what was not measured. The network is trained on digits as figures and as words; the file has only
figures, so that every caption holds the name of its class.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from tools.mini.images import read_split
from tools.mini.split import photos
from tools.mini_text.attributes import NAMES, Bounds, levels
from torch import Tensor

from limbeck.randomness import generator

CAPTIONS_FILE = "metadata.jsonl"
PROMPT = "a photo of a hand showing the digit {name}"
"""The pack's prompt of a class, whose name is a figure."""

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SUBJECTS = ("the digit {}", "the number {}", "the digit {}", "{}", "the sign for {}")
PICTURES = ("photo", "picture", "photo", "snapshot")
WORDS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "light": (("dark", "dim"), ("bright", "well lit")),
    "sharpness": (("blurred", "soft"), ("sharp", "crisp")),
    "size": (("small", "distant"), ("large", "close")),
    "side": (("on the left", "left of the middle"), ("on the right", "right of the middle")),
}
"""For each attribute the words for low, then those for high."""

BARE_SHARE = 0.1
"""Of all captions, those that are only the digit, as in "the number 3"."""
MENTION_SHARE = 0.6
"""How often an attribute that could be named is named."""


def caption(digit: int, level: Mapping[str, int], rng: np.random.Generator, *, with_words: bool = True) -> str:
    """One sentence about a photo.

    Args:
        digit: What the hand shows.
        level: By attribute, -1 for low, 1 for high, 0 for what is not to be named.
        rng: Chooses among true sentences.
        with_words: Let half of the captions name the digit by its word.
    """

    def one_of(choices: Sequence[str]) -> str:
        return choices[rng.integers(len(choices))]

    figure = str(digit)
    subject = one_of(SUBJECTS).format(one_of((figure, DIGITS[digit] if with_words else figure)))
    if rng.random() < BARE_SHARE:
        return subject
    said = {
        name: one_of(WORDS[name][level[name] > 0]) if level[name] and rng.random() < MENTION_SHARE else ""
        for name in NAMES
    }
    picture = _phrase("a", said["light"], said["sharpness"], one_of(PICTURES))
    hand = _phrase("a", said["size"], "hand")
    whole = one_of((f"{picture} of {hand} showing {subject}", f"{picture} of {subject} shown by {hand}"))
    return f"{whole} {said['side']}".rstrip()


def _phrase(*words: str) -> str:
    return " ".join(word for word in words if word)


def captions(images: Tensor, labels: Tensor, *, seed: int, version: int, with_words: bool = True) -> list[str]:
    """A caption for every image; image `i` of a `version` has the same words whatever the others are.

    Args:
        images: Shape (count, 3, height, width), in [-1, 1].
        labels: Digits, shape (count,).
        seed: With `version` and its row, chooses the words of an image.
        version: 0 for the photos as they are; another number for every moved version of them.
        with_words: As of `caption`.
    """
    found = levels(images, Bounds())
    return [
        caption(
            digit,
            {name: int(found[name][row]) for name in NAMES},
            generator(seed, str(digit), row, f"caption-{version}"),
            with_words=with_words,
        )
        for row, digit in enumerate(labels.tolist())
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the captions of the photos as they are, one JSON object a line."""
    parser = argparse.ArgumentParser(description="caption the training photos of the sign digits")
    parser.add_argument("--data", type=Path, default=Path("examples/data/sign_digits/train"))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    split = read_split(options.data)
    texts = captions(split.images, split.labels, seed=options.seed, version=0, with_words=False)
    rows = sorted(zip([file.relative_to(options.data).as_posix() for file in photos(options.data)], texts, strict=True))
    lines = [json.dumps({"file_name": name, "text": text}) + "\n" for name, text in rows]
    (options.data / CAPTIONS_FILE).write_text("".join(lines), encoding="utf-8")
    print(f"{len(lines)} captions, {len(set(texts))} of them different")


if __name__ == "__main__":
    main()
