"""The text tower of BERT (Devlin et al., NAACL 2019), MiniLM's among them, as the network of the graph `text_encoder`.

    token ids  ->  states, zero where a prompt is padded

A token never attends to padding, and the states of padding are zero, whatever the tower would make of them. So the
states of a prompt do not depend on how far it was padded, and a network that attends to them finds nothing in a zero
but a place to rest. Their mean over a prompt's tokens is a sum over all of them, divided by how many are not zero.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

HIDDEN_SCORE = -1e4
"""What is added to the score of padding: its softmax is then exactly zero, and float16 can hold it."""


class BertTower(nn.Module):
    """Token ids to the states of the last layer."""

    def __init__(self, model: Any) -> None:
        """Take the parts of a `BertModel` whose attention is "eager"; they are shared with it, not copied."""
        super().__init__()
        self.embeddings = model.embeddings
        self.layers = model.encoder.layer
        self.padding = int(model.config.pad_token_id)

    def forward(self, token_ids: Tensor) -> Tensor:
        """(batch, tokens), int64, to (batch, tokens, states)."""
        kept = (token_ids != self.padding).to(torch.float32)
        scores = (1 - kept)[:, None, None, :] * HIDDEN_SCORE
        x = self.embeddings(token_ids)
        for layer in self.layers:
            x = layer(x, scores)
        states: Tensor = x * kept[:, :, None]
        return states


class BertStates(nn.Module):
    """What a `BertTower` is to compute, by the `BertModel` itself."""

    def __init__(self, model: Any) -> None:
        """Keep the model."""
        super().__init__()
        self.model = model

    def forward(self, token_ids: Tensor) -> Tensor:
        """As `BertTower.forward`."""
        kept = token_ids != self.model.config.pad_token_id
        states: Tensor = self.model(token_ids, attention_mask=kept).last_hidden_state * kept[:, :, None]
        return states


def round_to_int8(network: nn.Module) -> None:
    """Round every matrix of `network` to 255 levels a row, in place; the dtype stays float32.

    A row is one word of an embedding, or what makes one output of a linear layer. The network is then the one that
    int8 storage keeps, so that a graph can be compared with it tightly, and another network trained on its states.
    """
    with torch.no_grad():
        for weight in network.parameters():
            if weight.dim() == 2:
                scales = int8_scales(weight)
                weight.copy_((weight / scales).round() * scales)


def int8_scales(weight: Tensor) -> Tensor:
    """What the int8 values -127 to 127 of every row are multiplied with, shape (rows, 1).

    Scales are bfloat16 values, so that rounding a second time, or to float16 in between, changes nothing.
    """
    scales = (weight.abs().amax(1, keepdim=True) / 127).bfloat16().float()
    return scales.clamp(min=torch.finfo(torch.float32).tiny)
