"""Prompts to the token ids that a text encoder was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from limbeck.errors import ConfigError, PackError


class Tokenizer:
    """A `tokenizer.json`, which says itself how prompts are padded and cut.

    Args:
        path: The file.
        tokens: How many tokens it must make of any prompt; kept under that name.

    Raises:
        ConfigError: The package `tokenizers` is not installed.
        PackError: The file is no tokenizer, or makes another number of tokens.
    """

    def __init__(self, path: Path, *, tokens: int) -> None:
        """Read the file, and try it on the empty prompt."""
        try:
            import tokenizers
        except ImportError as error:
            raise ConfigError(
                "a pack with a text encoder needs the package tokenizers: pip install 'limbeck[text]'"
            ) from error
        try:
            self._tokenizer: Any = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises a bare Exception for anything it cannot read
            raise PackError(f"{path} cannot be read as a tokenizer: {error}; export the pack again") from error
        self.tokens = tokens
        self._uncut = tokenizers.Tokenizer.from_str(self._tokenizer.to_str())
        self._uncut.no_padding()
        self._uncut.no_truncation()
        found = len(self._tokenizer.encode("").ids)
        if found != tokens:
            raise PackError(
                f"{path} makes {found} token(s) of an empty prompt, the text encoder takes {tokens}; it must pad and "
                "cut to that: export the pack again"
            )

    @property
    def is_bert(self) -> bool:
        """Whether it is that of a BERT, MiniLM among them: the only text encoder of packs beside CLIP's."""
        return self._tokenizer.token_to_id("[CLS]") is not None

    def __call__(self, prompts: Sequence[str]) -> NDArray[np.int64]:
        """Token ids, shape (prompts, tokens); a prompt that is too long is cut at its end."""
        return np.array([encoding.ids for encoding in self._tokenizer.encode_batch(list(prompts))], np.int64)

    def mask(self, prompts: Sequence[str]) -> NDArray[np.bool_]:
        """Which tokens are not padding, shape (prompts, tokens)."""
        encodings = self._tokenizer.encode_batch(list(prompts))
        return np.array([encoding.attention_mask for encoding in encodings], np.bool_)

    def length(self, prompt: str) -> int:
        """Tokens of a prompt before it is padded or cut, those at its start and end included."""
        return len(self._uncut.encode(prompt).ids)
