"""MiniLM-L6 as the pack stores it, and the token states of captions.

The denoiser is trained on the states of the rounded network, which are those that the pack's graph makes.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor
from transformers import AutoTokenizer, BertModel

from limbeck.export.bert import BertTower, round_to_int8

TOKENS = 32


@dataclass(frozen=True, kw_only=True)
class TextNetwork:
    """A tower, and its tokenizer of transformers.

    Args:
        model: A `BertModel`, its matrices rounded to int8 values.
        tokenizer: Of the same folder.
    """

    model: BertModel
    tokenizer: AutoTokenizer

    @classmethod
    def read(cls, folder: Path, tokenizer: Path | None = None) -> Self:
        """From a folder with `config.json` and `model.safetensors`, and one with the tokenizer, the same by default."""
        model = BertModel.from_pretrained(folder, attn_implementation="eager", add_pooling_layer=False)
        round_to_int8(model)
        loaded = AutoTokenizer.from_pretrained(tokenizer or folder, model_max_length=TOKENS)
        return cls(model=model.eval().requires_grad_(False), tokenizer=loaded)

    @torch.no_grad()
    def states(self, texts: list[str], batch: int = 128) -> Tensor:
        """States of every text, padded with zeros, shape (texts, 32, 384), float16."""
        tower = BertTower(self.model)
        order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
        states = torch.zeros(len(texts), TOKENS, self.model.config.hidden_size, dtype=torch.float16)
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            # padded to the longest of them only: states do not depend on padding
            ids = self.tokenizer(
                [texts[row] for row in rows], padding=True, truncation=True, max_length=TOKENS, return_tensors="pt"
            )["input_ids"]
            states[rows, : ids.shape[1]] = tower(ids).half()
        return states
