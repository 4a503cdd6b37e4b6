"""A text tower to the graph `text_encoder`, and its tokenizer to one file.

    text_encoder:  token_ids      to  states

Two kinds are known: CLIP's (Radford et al., ICML 2021), whose attention is causal and whose padding is a token like
others, and BERT's, in `limbeck.export.bert`. A tower runs once per prompt, and tokens are few: attention is exported
as two products and a softmax, which every backend runs.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from limbeck.backends.base import GraphSpec, TensorSpec
from limbeck.errors import ExportError
from limbeck.export.bert import BertStates, BertTower
from limbeck.export.graph import Tracing, WrittenGraph, write_graph
from limbeck.export.int8_storage import store_as_int8
from limbeck.export.options import PROTOBUF_SAFE_NBYTES, ExportOptions
from limbeck.export.parity import BATCHES, check_parity, computation, opened, random_feeds
from limbeck.pack import GraphEntry, Role

HIDDEN_SCORE = -1e4
"""What is added to the score of a later token: its softmax is then exactly zero, and float16 can hold it."""


class TextTower(nn.Module):
    """Token ids to the states of the last layer, normalized."""

    def __init__(self, model: Any, tokens: int) -> None:
        """Take the parts of a `CLIPTextModel` whose attention is "eager"; they are shared with it, not copied."""
        super().__init__()
        self.embeddings = model.embeddings
        self.layers = model.encoder.layers
        self.norm = model.final_layer_norm
        self.register_buffer("mask", torch.full((tokens, tokens), HIDDEN_SCORE).triu(1), persistent=False)

    def forward(self, token_ids: Tensor) -> Tensor:
        """(batch, tokens), int64, to (batch, tokens, states)."""
        x = self.embeddings(token_ids)
        for layer in self.layers:
            x = layer(x, self.mask)
        states: Tensor = self.norm(x)
        return states


def export_text(model: Any, pack: Path, options: ExportOptions, *, tokens: int) -> dict[Role, GraphEntry]:
    """Write the graph of a `CLIPTextModel` or `BertModel` in float32, and compare it with the model.

    Args:
        model: The network; with `options.text_int8`, already rounded by `round_to_int8`.
        pack: The folder to write to.
        options: How weights are stored.
        tokens: Length of a prompt.

    Raises:
        ExportError: The network cannot be traced.
        ParityError: The graph computes something else.
    """
    config = model.config
    spec = GraphSpec(
        (TensorSpec("token_ids", "int64", ("batch", tokens)),),
        (TensorSpec("states", "float32", ("batch", tokens, config.hidden_size)),),
    )
    is_bert = config.model_type == "bert"
    tracing = Tracing(network=BertTower(model) if is_bert else TextTower(model, tokens), spec=spec, sizes={"batch": 2})
    written = (_write_as_int8 if options.text_int8 else _write)(tracing, pack, options)
    cases = [random_feeds(spec.inputs, {"batch": batch}, token_ids=config.vocab_size) for batch in BATCHES]
    if is_bert:
        for case in cases:
            case["token_ids"][:, tokens // 2 :] = config.pad_token_id
    reference = computation(BertStates(model) if is_bert else ClipStates(model), ["states"])
    with opened(written, pack) as graph:
        return {"text_encoder": written.entry(check_parity("text_encoder", graph, reference, cases))}


class ClipStates(nn.Module):
    """What a `TextTower` is to compute, by the `CLIPTextModel` itself."""

    def __init__(self, model: Any) -> None:
        """Keep the model."""
        super().__init__()
        self.model = model

    def forward(self, token_ids: Tensor) -> Tensor:
        """As `TextTower.forward`."""
        states: Tensor = self.model(token_ids).last_hidden_state
        return states


def _write(tracing: Tracing, pack: Path, options: ExportOptions) -> WrittenGraph:
    return write_graph(tracing, pack, "text_encoder", options)


def _write_as_int8(tracing: Tracing, pack: Path, options: ExportOptions) -> WrittenGraph:
    """The graph in one file: what is too large for that in float32 is a fourth of it in int8."""
    one_file = replace(options, external_above_nbytes=PROTOBUF_SAFE_NBYTES)
    written = write_graph(tracing, pack, "text_encoder", one_file)
    store_as_int8(pack / written.file)
    return replace(written, weights="int8")


def write_tokenizer(tokenizer: Any, path: Path, *, tokens: int) -> None:
    """Write the fast tokenizer of a text tower as one JSON file that pads and cuts to `tokens`.

    Args:
        tokenizer: Of transformers, backed by the `tokenizers` library.
        path: Of the file; its folder is made.
        tokens: What every prompt is padded and cut to.

    Raises:
        ExportError: The tokenizer has no token to pad with.
    """
    if tokenizer.pad_token_id is None:
        raise ExportError("the tokenizer has no padding token; its tokenizer_config.json must name a pad_token")
    core = type(tokenizer.backend_tokenizer).from_str(tokenizer.backend_tokenizer.to_str())
    core.enable_truncation(tokens)
    core.enable_padding(length=tokens, pad_id=tokenizer.pad_token_id, pad_token=tokenizer.pad_token)
    path.parent.mkdir()
    core.save(str(path))
