"""What torchvision needs before it can be imported beside a CPU build of torch."""

from __future__ import annotations

from contextlib import suppress

import torch


def declare_operators() -> None:
    """Declare two operators that torchvision's wheels for PyPI, which expect CUDA's torch, look for on import.

    Where they are declared, declaring them again raises, and nothing is done.
    """
    for operator in ("nms", "qnms"):
        with suppress(RuntimeError):
            torch.library.define(
                f"torchvision::{operator}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            )
