"""`TextFeatures`: texts to one vector each, on the text encoder of a pack's denoiser."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from limbeck.arrays import Array, Features
from limbeck.diffusion.batching import in_buckets
from limbeck.engine import Runnable
from limbeck.text.tokenizer import Tokenizer

Pooling: TypeAlias = Literal["mean", "last", "trained"]
"""How the states of a text's tokens become one vector: their mean, as sentence encoders are trained (MiniLM), or the
last token's, as CLIP is; "trained" is whichever of both the text encoder was trained with. BERT's last token is [SEP],
whose state no training of a sentence encoder looks at. Padding counts for nothing."""


class TextFeatures:
    """A text encoder as a feature network.

    Args:
        tokenizer: Texts to token ids.
        engine: The text encoder; it is closed by whoever compiled it.
        bucket: Texts in one engine call; fewer are padded to it.
    """

    def __init__(self, tokenizer: Tokenizer, engine: Runnable, *, bucket: int) -> None:
        """Keep the engine."""
        self.max_tokens = tokenizer.tokens
        """The most tokens of a text that are read, special ones included."""
        self.num_features = int(engine.spec.outputs[0].shape[-1])
        """Dimensions of a vector."""
        self._tokenizer = tokenizer
        self._engine = engine
        self._bucket = bucket

    def num_tokens(self, text: str) -> int:
        """How many tokens a text has before it is cut, special ones included."""
        return self._tokenizer.length(text)

    def features(self, texts: Sequence[str], *, pooling: Pooling) -> Features:
        """One vector a text, shape (texts, dimensions). Equal texts are encoded once."""
        different = sorted(set(texts))
        made = np.concatenate(
            [
                self._pooled(different[start : start + self._bucket], pooling)
                for start in range(0, len(different), self._bucket)
            ]
        )
        place = {text: i for i, text in enumerate(different)}
        return made[[place[text] for text in texts]]

    def _pooled(self, texts: Sequence[str], pooling: Pooling) -> Features:
        """A bucket at a time: the states of a text are up to 100 times as much as its vector."""
        run = self._engine.run
        (states,) = in_buckets(run, {"token_ids": self._tokenizer(texts)}, bucket=self._bucket).values()
        mask = self._tokenizer.mask(texts)
        if pooling == "trained":
            pooling = "mean" if self._tokenizer.is_bert else "last"
        return _last(states, mask) if pooling == "last" else _mean(states, mask)


def _mean(states: Array, mask: NDArray[np.bool_]) -> Features:
    weights = (mask / mask.sum(axis=1, keepdims=True)).astype(np.float32)
    mean: Features = np.einsum("ntd,nt->nd", states, weights, dtype=np.float32)
    return mean


def _last(states: Array, mask: NDArray[np.bool_]) -> Features:
    last = mask.shape[1] - 1 - mask[:, ::-1].argmax(axis=1)
    chosen: Features = states[np.arange(len(states)), last]
    return chosen
