"""The study's datasets, with the names of their classes.

Names matter: a generating method takes the class of a pack by its name, and unnamed classes are called 0 to 9, as the
mini pack's digits are. Unnamed Fashion-MNIST would be distilled into hands.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from benchmarks.harness.machine import ROOT

from limbeck.durable import write_whole

FASHION = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


@dataclass(frozen=True, kw_only=True)
class Data:
    """A dataset of the study.

    Args:
        name: What the study calls it.
        train, test: Where the real images are, as `--data` of the commands takes them.
        pack: The pack whose networks know it.
    """

    name: str
    train: str
    test: str
    pack: str = "mini"

    @classmethod
    def parse(cls, text: str) -> Data:
        """From NAME=TRAIN,TEST or NAME=TRAIN,TEST,PACK."""
        name, _, rest = text.partition("=")
        train, test, *pack = rest.split(",")
        return cls(name=name, train=train, test=test, pack=pack[0] if pack else "mini")


SIGN_DIGITS = Data(
    name="sign-digits",
    train=str(ROOT / "examples/data/sign_digits/train"),
    test=str(ROOT / "examples/data/sign_digits/test"),
)


def fashion_mnist(file: Path, folder: Path, *, pack: str = "mini", per_class: int | None = None) -> Data:
    """Fashion-MNIST from an archive with x_train, y_train, x_test and y_test; a copy with names goes into `folder`.

    Args:
        file: The archive.
        folder: Where the copy goes.
        pack: The pack whose networks know it.
        per_class: How many training images of each class the copy has, the first ones; None is all.
    """
    named = folder / ("fashion-mnist.npz" if per_class is None else f"fashion-mnist-{per_class}.npz")
    if not named.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(named, with_names(file, FASHION, per_class=per_class))
    return Data(name="fashion-mnist", train=f"{named}:train", test=f"{named}:test", pack=pack)


def with_names(file: Path, names: Sequence[str], *, per_class: int | None = None) -> bytes:
    """An npz archive with the names of its classes put in, in the order of their labels.

    Args:
        file: The archive.
        names: Of the classes.
        per_class: How many training images of each class remain, the first ones; None is all.
    """
    stream = io.BytesIO()
    with np.load(file, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    if per_class is not None:
        labels = arrays["y_train"]
        kept = np.sort(np.concatenate([np.flatnonzero(labels == label)[:per_class] for label in range(len(names))]))
        arrays |= {"x_train": arrays["x_train"][kept], "y_train": labels[kept]}
    np.savez(stream, class_names=np.asarray(names), **arrays)  # plain, so that reading a class is no pass over all
    return stream.getvalue()
