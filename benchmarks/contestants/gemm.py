"""Bare matrix products: the ceilings of this machine's arithmetic, that of a library doing nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

Feeds = Mapping[str, NDArray[Any]]

REPEATS = 10
"""Products in one run, so that a call's overhead does not count; rates are of all of them."""


def flops(feeds: Feeds) -> int:
    """Operations of one run on `left` (m, k) and `right` (k, n), two for a multiply-add."""
    m, k = feeds["left"].shape
    return 2 * int(m * k * feeds["right"].shape[1]) * REPEATS


class TorchGemm:
    """torch's matrix product: MKL for fp32, oneDNN for bf16 and int8.

    Args:
        dtype: "float32", "bfloat16" or "int8" (int8 by int8 to int32).
        threads: Threads of the product.
    """

    packages: ClassVar[tuple[str, ...]] = ("torch",)

    def __init__(self, *, dtype: str, threads: int) -> None:
        """Keep the settings."""
        self._dtype, self._threads = dtype, threads

    def load(self) -> None:
        """Import torch."""
        import torch

        torch.set_num_threads(self._threads)
        self._operands: tuple[Any, Any] | None = None

    def run(self, feeds: Feeds) -> NDArray[Any]:
        """`REPEATS` products; the operands are converted once."""
        import torch

        if self._operands is None:
            left, right = (torch.from_numpy(feeds[name]) for name in ("left", "right"))
            if self._dtype == "int8":
                left, right = ((x * 40).round().clamp(-127, 127) for x in (left, right))
            dtype = getattr(torch, self._dtype)
            self._operands = left.to(dtype), right.to(dtype)
        product = torch._int_mm if self._dtype == "int8" else torch.mm
        for _ in range(REPEATS):
            found = product(*self._operands)
        result: NDArray[Any] = found[:1].float().numpy()
        return result

    def flops(self, feeds: Feeds) -> int:
        """As `flops`."""
        return flops(feeds)


class OnnxRuntimeGemm:
    """ONNX Runtime's matrix product (MLAS), its right-hand side a weight that is packed beforehand.

    Args:
        dtype: "float32", or "int8" (unsigned by signed 8-bit integers to 32-bit ones).
        threads: Threads of the product.
    """

    packages: ClassVar[tuple[str, ...]] = ("onnxruntime", "onnx")

    def __init__(self, *, dtype: str, threads: int) -> None:
        """Keep the settings."""
        self._int8, self._threads = dtype == "int8", threads

    def load(self) -> None:
        """Import the runtime; the session is made in the first run, when the weight is known."""
        import onnxruntime

        self._runtime = onnxruntime
        self._session: Any = None

    def run(self, feeds: Feeds) -> NDArray[Any]:
        """`REPEATS` products."""
        if self._session is None:
            self._prepare(feeds)
        for _ in range(REPEATS):
            found = self._session.run(None, {"left": self._left})[0]
        result: NDArray[Any] = found[:1].astype(np.float32)
        return result

    def flops(self, feeds: Feeds) -> int:
        """As `flops`."""
        return flops(feeds)

    def _prepare(self, feeds: Feeds) -> None:
        from onnx import TensorProto, helper, numpy_helper

        left, right = feeds["left"], feeds["right"]
        if self._int8:
            left = (left * 40 + 128).round().clip(0, 255).astype(np.uint8)
            right = (right * 40).round().clip(-127, 127).astype(np.int8)
        self._left = left
        kind, out = (TensorProto.UINT8, TensorProto.INT32) if self._int8 else (TensorProto.FLOAT, TensorProto.FLOAT)
        node = helper.make_node("MatMulInteger" if self._int8 else "MatMul", ["left", "right"], ["product"])
        graph = helper.make_graph(
            [node],
            "gemm",
            [helper.make_tensor_value_info("left", kind, left.shape)],
            [helper.make_tensor_value_info("product", out, (left.shape[0], right.shape[1]))],
            [numpy_helper.from_array(right, "right")],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
        options = self._runtime.SessionOptions()
        options.intra_op_num_threads = self._threads
        self._session = self._runtime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
