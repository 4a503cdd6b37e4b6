"""The weights of a torch network: read from a safetensors file, folded, and rounded to what a pack will store."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from limbeck.errors import ExportError

Network = TypeVar("Network", bound=nn.Module)

LARGE = 1024
"""Tensors with fewer elements stay float32: they weigh nothing, and norms and biases are the ones that mind."""


def load_weights(network: Network, path: str | Path, *, ignored: Sequence[str] = ()) -> Network:
    """Fill `network` from a safetensors file, converted to float32, and set it to evaluate.

    Args:
        network: Changed in place, and returned.
        path: The file; its names are those of the network's state.
        ignored: Prefixes of names that the file may have beside those.

    Raises:
        ExportError: The file is missing or damaged, or its names or shapes are not the network's.
    """
    kind = type(network).__name__
    try:
        state = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ExportError(f"cannot read the weights of {kind} from '{path}': {error}") from error
    kept = {name: value.float() for name, value in state.items() if not name.startswith(tuple(ignored))}
    try:
        network.load_state_dict(kept)
    except RuntimeError as error:
        raise ExportError(f"'{path}' does not hold the weights of {kind}: {error}") from error
    return network.float().eval()


def fold_batch_norms(network: Network) -> Network:
    """Fold each batch norm into the convolution before it, in place; returns the network, set to evaluate.

    For networks that list every norm right after its convolution, as those written here do. Folded weights are
    the ones that run, so they are the ones to round: folding rounded weights would leave values that no longer
    fit float16.
    """
    network.eval()
    for parent in list(network.modules()):
        children = list(parent.named_children())
        for (conv_name, conv), (norm_name, norm) in pairwise(children):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(parent, conv_name, fuse_conv_bn_eval(conv, norm))
                setattr(parent, norm_name, nn.Identity())
    return network


def round_to_half(network: nn.Module) -> None:
    """Round every large weight of `network` to a float16 value, in place; the dtype stays float32.

    The network is then the one that float16 storage keeps, so a graph can be compared with it tightly. A tensor
    with a value beyond float16's range is left alone.
    """
    with torch.no_grad():
        for weight in network.parameters():
            rounded = weight.half().float()
            if weight.numel() >= LARGE and bool(torch.isfinite(rounded).all()):
                weight.copy_(rounded)
