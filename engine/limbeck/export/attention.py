"""Attention that never holds the (tokens, tokens) matrix: one `com.microsoft.MultiHeadAttention` node a call.

The decomposed form and the standard `Attention` operator both take 2.3 GB at 4,096 tokens in ONNX Runtime on the
CPU; this node takes 0.16 GB and runs 2.3 to 3.6 times faster.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn import functional as F

from limbeck.errors import ExportError

DOMAIN = "com.microsoft"
OPERATOR = "MultiHeadAttention"


@contextmanager
def attention_as_one_node() -> Iterator[None]:
    """While open, `torch.nn.functional.scaled_dot_product_attention` traces to one node; restored on leaving.

    It replaces the attribute of the module, for all threads: only trace inside. Networks that bound the function
    itself at import are not reached.
    """
    original = F.scaled_dot_product_attention
    F.scaled_dot_product_attention = _one_node
    try:
        yield
    finally:
        F.scaled_dot_product_attention = original


def _one_node(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Stands in for torch's function; arguments and result as there, shape (batch, heads, tokens, size)."""
    if attn_mask is not None or dropout_p or is_causal or enable_gqa:
        raise ExportError(
            "the network's attention has a mask, dropout, a causal order or grouped queries, which limbeck cannot "
            "export; networks of class-conditional DiTs, VAEs and image backbones have none"
        )
    batch, heads, tokens, size = query.shape
    attended: Tensor = torch.onnx.ops.symbolic(
        f"{DOMAIN}::{OPERATOR}",
        [tensor.transpose(1, 2).flatten(2) for tensor in (query, key, value)],
        attrs={"num_heads": heads} if scale is None else {"num_heads": heads, "scale": float(scale)},
        dtype=query.dtype,
        shape=(batch, tokens, heads * size),
        version=1,
    )
    return attended.view(batch, tokens, heads, size).transpose(1, 2)
