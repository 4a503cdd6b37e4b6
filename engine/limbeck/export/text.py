"""The text tower of CLIP (Radford et al., ICML 2021) to the graph `text_encoder`, and its tokenizer to one file.

    text_encoder:  token_ids      to  states

The tower runs once per prompt. Its attention is causal, and 77 tokens are few: it is exported as two products and a
softmax, which every backend runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from limbeck.backends.base import GraphSpec, TensorSpec
from limbeck.errors import ExportError
from limbeck.export.graph import Tracing, write_graph
from limbeck.export.options import ExportOptions
from limbeck.export.parity import BATCHES, Feeds, check_parity, opened, random_feeds
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


def export_text(model: Any, pack: Path, options: ExportOptions) -> dict[Role, GraphEntry]:
    """Write the graph of a `CLIPTextModel` in float32, and compare it with the model.

    Raises:
        ExportError: The network cannot be traced.
        ParityError: The graph computes something else.
    """
    config = model.config
    tokens = config.max_position_embeddings
    spec = GraphSpec(
        (TensorSpec("token_ids", "int64", ("batch", tokens)),),
        (TensorSpec("states", "float32", ("batch", tokens, config.hidden_size)),),
    )
    tracing = Tracing(network=TextTower(model, tokens), spec=spec, sizes={"batch": 2})
    written = write_graph(tracing, pack, "text_encoder", options)
    cases = [random_feeds(spec.inputs, {"batch": batch}, token_ids=config.vocab_size) for batch in BATCHES]

    def whole(feeds: Feeds) -> Feeds:
        with torch.no_grad():
            return {"states": model(torch.from_numpy(feeds["token_ids"])).last_hidden_state.numpy()}

    with opened(written, pack) as graph:
        return {"text_encoder": written.entry(check_parity("text_encoder", graph, whole, cases))}


def write_tokenizer(tokenizer: Any, path: Path, *, tokens: int) -> None:
    """Write the fast tokenizer of a CLIP model as one JSON file that pads and cuts to `tokens`.

    Args:
        tokenizer: Of transformers, backed by the `tokenizers` library.
        path: Of the file; its folder is made.
        tokens: What every prompt is padded and cut to, as Stable Diffusion does.

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
