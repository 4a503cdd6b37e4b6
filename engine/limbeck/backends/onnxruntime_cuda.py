"""ONNX Runtime's CUDA provider, as limbeck sets it: nothing allocated that was not asked for, and never above a limit.

The option names are those of https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html.
Not measured: no GPU was there when this was written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import ConfigDict

from limbeck.errors import ConfigError

CUDA = "CUDAExecutionProvider"


@dataclass(frozen=True, kw_only=True)
class CudaSettings:
    """Settings of the CUDA provider.

    Args:
        device: Which GPU, from 0.
        limit_nbytes: The most that the provider's arena may hold (weights and activations, not the CUDA context nor
            cuDNN's workspaces of its own); None is what the device has.
        convolutions: How cuDNN's algorithm is chosen. "heuristic" and "default" try none; "exhaustive" tries all,
            with the workspaces they want, at the first run of a shape.
        graphs: Capture one CUDA graph a shape and replay it. Pays for many small kernels; the graph must run on the
            GPU from end to end.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")  # where it is read from JSON

    device: int = 0
    limit_nbytes: int | None = None
    convolutions: Literal["heuristic", "default", "exhaustive"] = "heuristic"
    graphs: bool = False

    def __post_init__(self) -> None:
        """Reject what the provider would only refuse when a graph is loaded."""
        if self.device < 0:
            raise ConfigError(f"GPUs are counted from 0, got device={self.device}")
        if self.limit_nbytes is not None and self.limit_nbytes < 1:
            raise ConfigError(f"a limit is at least one byte, got limit_nbytes={self.limit_nbytes}")
        if self.convolutions not in ("heuristic", "default", "exhaustive"):
            raise ConfigError(f"convolutions are 'heuristic', 'default' or 'exhaustive', got {self.convolutions!r}")

    def provider_options(self) -> dict[str, str]:
        """As ONNX Runtime takes them."""
        options = {
            "device_id": str(self.device),
            # the default doubles the arena each time it grows: up to twice what is needed
            "arena_extend_strategy": "kSameAsRequested",
            "cudnn_conv_algo_search": self.convolutions.upper(),
            "cudnn_conv_use_max_workspace": "1" if self.convolutions == "exhaustive" else "0",
            "enable_cuda_graph": "1" if self.graphs else "0",
        }
        if self.limit_nbytes is not None:
            options["gpu_mem_limit"] = str(self.limit_nbytes)
        return options
