"""The networks in torch: eager or compiled, fp32 or bf16. Eager fp32 is the reference of every contest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

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
        threads: Threads of one operation.
    """

    packages: ClassVar[tuple[str, ...]] = ("torch", "diffusers", "timm")

    def __init__(
        self,
        *,
        kind: str,
        source: str,
        dtype: str = "float32",
        compiled: bool = False,
        channels_last: bool = False,
        threads: int,
    ) -> None:
        """Keep the settings."""
        self._kind, self._source = kind, Path(source)
        self._dtype: torch.dtype = getattr(torch, dtype)
        self._compiled, self._channels_last, self._threads = compiled, channels_last, threads

    def load(self) -> None:
        """Load the weights."""
        torch.set_num_threads(self._threads)
        network = load_network(self._kind, self._source, self._dtype)
        if self._channels_last:
            network = network.to(memory_format=torch.channels_last)
        self._network: Any = network
        if self._compiled:
            torch._inductor.config.freezing = True
            self._network = torch.compile(network)

    def run(self, feeds: Feeds) -> NDArray[Any]:
        """One pass."""
        inputs = tensors(self._kind, feeds, self._dtype)
        if self._channels_last:
            inputs = [x.to(memory_format=torch.channels_last) if x.ndim == 4 else x for x in inputs]
        with torch.no_grad():
            found: NDArray[Any] = self._network(*inputs).float().numpy()
        return found[:, : NETWORKS[self._kind].channels]

    def flops(self, feeds: Feeds) -> int:
        """Matrix products, convolutions and attention, as torch counts them: two for a multiply-add."""
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            self._network(*tensors(self._kind, feeds, self._dtype))
        return int(counter.get_total_flops())
