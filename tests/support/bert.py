"""A small BERT with random weights and a WordPiece vocabulary, and a pipeline whose UNet attends to its states."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from support.pipelines import write_pipeline

WORDS = ("a", "photo", "of", "the", "digit", "hand", "three", "3", "##s", "show", "##ing", "-", ",")
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
TOKENS = 12
"""What the tokenizer says is the length of a prompt; the network has places for more."""


def write_wordpieces(folder: Path) -> int:
    """Write a tokenizer in the layout of BERT; returns the size of its vocabulary."""
    import transformers

    folder.mkdir(parents=True)
    vocabulary = {token: index for index, token in enumerate((*SPECIAL, *WORDS))}
    tokenizer = transformers.BertTokenizerFast(vocab=vocabulary, do_lower_case=True, model_max_length=TOKENS)
    tokenizer.save_pretrained(folder)
    return len(vocabulary)


def small_bert(vocabulary: int, **settings: Any) -> Any:
    """A `BertModel` of two layers, 32 wide, whose weights are the same at every call."""
    import torch
    import transformers

    config = transformers.BertConfig(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=40,
        initializer_range=0.3,
        attn_implementation="eager",
        **settings,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return transformers.BertModel(config, add_pooling_layer=False).eval()


def write_bert_pipeline(folder: Path) -> Path:
    """The pipeline of `write_pipeline` with a BERT for its CLIP."""
    write_pipeline(folder)
    for name in ("text_encoder", "tokenizer"):
        shutil.rmtree(folder / name)
    small_bert(write_wordpieces(folder / "tokenizer")).save_pretrained(folder / "text_encoder")
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    index |= {"text_encoder": ["transformers", "BertModel"], "tokenizer": ["transformers", "BertTokenizerFast"]}
    (folder / "model_index.json").write_text(json.dumps(index), encoding="utf-8")
    return folder
