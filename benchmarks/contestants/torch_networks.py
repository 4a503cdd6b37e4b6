"""The networks in torch: eager or compiled, fp32 or bf16. Eager fp32 is the reference of every contest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from benchmarks.networks import NETWORKS, load_network, tensors
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode

Feeds = Mapping[str, NDArray[Any]]


class Torch:
    """A network as its users run it.

    Args:
        kind: One of `NETWORKS`.
        source: Its folder.
        dtype: "float32" or "bfloat16".
        compiled: Through torch.compile, weights frozen into the compiled code; it happens in the first run.
        channels_last: The memory format of the network and its images; what convolutions prefer.
        attention: "sdpa", torch's own, or "xformers", which needs that package and CUDA.
        device: "cpu" or "cuda". Feeds and outputs are host arrays on both; their copies are part of a run.
        threads: Threads of one operation.
    """

    packages: ClassVar[tuple[str, ...]] = ("torch", "diffusers", "timm", "xformers")

    def __init__(
        self,
        *,
        kind: str,
        source: str,
        dtype: str = "float32",
        compiled: bool = False,
        channels_last: bool = False,
        attention: Literal["sdpa", "xformers"] = "sdpa",
        device: str = "cpu",
        threads: int,
    ) -> None:
        """Keep the settings."""
        self._kind, self._source = kind, Path(source)
        self._dtype: torch.dtype = getattr(torch, dtype)
        self._compiled, self._channels_last, self._threads = compiled, channels_last, threads
        self._attention, self._device = attention, device

    def load(self) -> None:
        """Load the weights."""
        torch.set_num_threads(self._threads)
        torch.backends.cudnn.allow_tf32 = False  # the reference is float32, not NVIDIA's 19 bits of it
        network = load_network(self._kind, self._source, self._dtype).to(self._device)
        if self._attention == "xformers":
            network.network.enable_xformers_memory_efficient_attention()  # type: ignore[operator, union-attr]
        if self._channels_last:
            network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._network: Any = network
        if self._compiled:
            torch._inductor.config.freezing = self._device == "cpu"
            self._network = torch.compile(network)

    def run(self, feeds: Feeds) -> NDArray[Any]:
        """One pass."""
        inputs = self._inputs(feeds)
        if self._channels_last:
            inputs = [x.to(memory_format=torch.channels_last) if x.ndim == 4 else x for x in inputs]
        with torch.no_grad():
            found: NDArray[Any] = self._network(*inputs).float().cpu().numpy()
        return found[:, : NETWORKS[self._kind].channels]

    def flops(self, feeds: Feeds) -> int:
        """Matrix products, convolutions and attention, as torch counts them: two for a multiply-add."""
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            self._network(*self._inputs(feeds))
        return int(counter.get_total_flops())

    def _inputs(self, feeds: Feeds) -> list[torch.Tensor]:
        return [tensor.to(self._device) for tensor in tensors(self._kind, feeds, self._dtype)]
