"""The norms that published students have."""

from __future__ import annotations

from torch import nn

from limbeck.evaluate.students import Norm


def make_norm(norm: Norm, channels: int) -> nn.Module:
    """Instance norm with a learned scale and shift (in other words, a group norm of single channels), or batch norm."""
    return nn.InstanceNorm2d(channels, affine=True) if norm == "instance" else nn.BatchNorm2d(channels)
