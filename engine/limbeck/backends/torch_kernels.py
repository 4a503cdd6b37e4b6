"""Other kernels for the reference backend's costly operators: attention and linear layers, as users of torch choose.

They are here to be compared with: whether xformers or bitsandbytes pays on a machine is measured, not assumed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from limbeck.backends.reference import Attention, Linear
from limbeck.backends.torch_values import must_be
from limbeck.errors import BackendUnavailableError

MIN_WEIGHTS = 4096
"""Smaller products stay as they are, as in transformers, whose users skip what is not worth it."""


@contextmanager
def attention_kernels(kind: Attention) -> Iterator[None]:
    """While open, torch's attention runs on the kernel it likes ("sdpa") or on products and a softmax ("math")."""
    chosen = torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH) if kind == "math" else nullcontext()
    with chosen:
        yield


def xformers_attention(query: Tensor, key: Tensor, value: Tensor, *, num_heads: int, scale: float = 0.0) -> Tensor:
    """`com.microsoft.MultiHeadAttention` by xformers' memory-efficient kernel; CUDA only.

    Not measured: no GPU was there when this was written.
    """
    kernels = _import("xformers.ops", "attention='xformers'", "xformers, a build for your torch and CUDA")
    q, k, v = (tensor.view(*tensor.shape[:2], num_heads, -1) for tensor in (query, key, value))
    attended: Tensor = kernels.memory_efficient_attention(q, k, v, scale=scale or None)
    return attended.flatten(2)


def quantized_linear(kind: Linear, weight: Tensor) -> Callable[[Tensor], Tensor]:
    """A product with a constant weight of shape (in, out), on bitsandbytes' int8 (LLM.int8) or nf4.

    Raises:
        BackendUnavailableError: bitsandbytes is not installed.
    """
    library = _import("bitsandbytes", f"linear={kind!r}", "bitsandbytes")
    num_in, num_out = weight.shape
    rows = weight.T.contiguous()
    if kind == "bitsandbytes-int8":
        layer = library.nn.Linear8bitLt(num_in, num_out, bias=False, has_fp16_weights=False)
        layer.weight = library.nn.Int8Params(rows, requires_grad=False, has_fp16_weights=False)
    else:
        layer = library.nn.Linear4bit(num_in, num_out, bias=False, quant_type="nf4", compute_dtype=torch.float32)
        layer.weight = library.nn.Params4bit(rows, requires_grad=False, quant_type="nf4")
    # bitsandbytes quantizes when a layer moves to a device, be it the one where it is
    placed: torch.nn.Module = layer.to(weight.device).eval()

    # LLM.int8 takes float16, and would cast to it with a warning a call
    taken = torch.float16 if kind == "bitsandbytes-int8" else torch.float32

    def product(x: Tensor) -> Tensor:
        result: Tensor = placed(x.to(taken))
        return result.to(x.dtype)

    return product


def quantized_gemm(
    product: Callable[[Tensor], Tensor], settings: Mapping[str, Any]
) -> Callable[[Tensor, Tensor | None], Tensor]:
    """`Gemm` on such a product: x w + c."""
    for name, value in (("alpha", 1.0), ("beta", 1.0), ("transA", 0)):
        must_be(name, settings.get(name, value), value)

    def gemm(x: Tensor, c: Tensor | None = None) -> Tensor:
        return product(x) if c is None else product(x) + c

    return gemm


def _import(module: str, setting: str, package: str) -> ModuleType:
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise BackendUnavailableError(
            f"the reference backend with {setting} needs the '{module.partition('.')[0]}' package: "
            f"pip install {package}"
        ) from error
