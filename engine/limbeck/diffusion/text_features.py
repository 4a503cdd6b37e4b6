"""`TextFeatures`: texts to one vector each, on the text encoder of a pack's denoiser."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from limbeck.arrays import Array, Features
from limbeck.diffusion.batching import in_buckets
from limbeck.engine import Runnable
from limbeck.errors import ConfigError, PackError
from limbeck.pack import Pack
from limbeck.text.tokenizer import Tokenizer

Pooling: TypeAlias = Literal["mean", "last", "projected", "trained"]
"""How the states of a text's tokens become one vector: their mean, as sentence encoders are trained (MiniLM); the last
token's; "projected", the last token's in the space of the backbone's features, as CLIP is trained; "trained", whichever
of these the text encoder was trained with, the last token's for a CLIP without its projection. BERT's last token is
[SEP], whose state no training of a sentence encoder looks at. Padding counts for nothing."""


class TextFeatures:
    """A text encoder as a feature network.

    Args:
        tokenizer: Texts to token ids.
        engine: The text encoder; it is closed by whoever compiled it.
        bucket: Texts in one engine call; fewer are padded to it.
        projection: Shape (states, features): the state of the last token to the space of a backbone's features.
    """

    def __init__(
        self, tokenizer: Tokenizer, engine: Runnable, *, bucket: int, projection: Features | None = None
    ) -> None:
        """Keep the engine."""
        self.max_tokens = tokenizer.tokens
        """The most tokens of a text that are read, special ones included."""
        self._tokenizer = tokenizer
        self._engine = engine
        self._bucket = bucket
        self._projection = projection

    def width(self, pooling: Pooling) -> int:
        """Dimensions of a vector; known before a network has run.

        Raises:
            ConfigError: There is no projection, and it was asked for.
        """
        states = int(self._engine.spec.outputs[0].shape[-1])
        projection = self._projection if self._known(pooling) == "projected" else None
        return states if projection is None else projection.shape[1]

    def _known(self, pooling: Pooling) -> Pooling:
        """What "trained" is, and anything else if it can be had."""
        if pooling == "trained":
            if self._tokenizer.is_bert:
                return "mean"
            return "last" if self._projection is None else "projected"
        if pooling == "projected" and self._projection is None:
            raise ConfigError(
                "pooling=projected needs a projection of texts to the space of the backbone's features, and the pack "
                "has none: export it from a UNet and clip:NAME, whose text tower must be the UNet's text encoder"
            )
        return pooling

    def num_tokens(self, text: str) -> int:
        """How many tokens a text has before it is cut, special ones included."""
        return self._tokenizer.length(text)

    def features(self, texts: Sequence[str], *, pooling: Pooling) -> Features:
        """One vector a text, shape (texts, dimensions). Equal texts are encoded once."""
        pooling, different = self._known(pooling), sorted(set(texts))
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
        if pooling == "mean":
            return _mean(states, mask)
        last = _last(states, mask)
        return last if pooling == "last" or self._projection is None else last @ self._projection


def text_projection_of(pack: Pack) -> Features | None:
    """The matrix of texts to the space of a pack's backbone, its file checked; None where there is none.

    Raises:
        PackError: It is damaged, or not of the backbone's dimensions.
    """
    info = pack.manifest.backbone
    if info is None or info.text_projection is None:
        return None
    pack.check_file(info.text_projection)
    path = pack.folder / info.text_projection
    try:
        matrix = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise PackError(f"{path} cannot be read as a matrix: {error}; export the pack again") from error
    states = pack.manifest.graphs["text_encoder"].outputs[0].shape[-1]
    if not isinstance(matrix, np.ndarray) or matrix.dtype != np.float32 or matrix.shape != (states, info.features):
        raise PackError(
            f"{path} must hold float32 of shape {(states, info.features)}, as the text encoder's states and the "
            "backbone's features; export the pack again"
        )
    projection: Features = matrix
    return projection


def _mean(states: Array, mask: NDArray[np.bool_]) -> Features:
    weights = (mask / mask.sum(axis=1, keepdims=True)).astype(np.float32)
    mean: Features = np.einsum("ntd,nt->nd", states, weights, dtype=np.float32)
    return mean


def _last(states: Array, mask: NDArray[np.bool_]) -> Features:
    last = mask.shape[1] - 1 - mask[:, ::-1].argmax(axis=1)
    chosen: Features = states[np.arange(len(states)), last]
    return chosen
