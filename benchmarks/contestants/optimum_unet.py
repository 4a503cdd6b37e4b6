"""The UNet of an optimum-onnx export, called as its Stable Diffusion pipeline calls it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.contestants.onnx_files import explain_absence
from numpy.typing import NDArray

Feeds = Mapping[str, NDArray[Any]]


class OptimumUnet:
    """`ORTStableDiffusionPipeline.unet`.

    Args:
        folder: What optimum-onnx exported.
        threads: Threads of one operation.
    """

    packages: ClassVar[tuple[str, ...]] = ("optimum-onnx", "onnxruntime", "diffusers", "transformers", "torch")

    def __init__(self, *, folder: str, threads: int) -> None:
        """Keep the settings."""
        self._folder, self._threads = Path(folder), threads

    def load(self) -> None:
        """Load the pipeline, as optimum does: all of its parts."""
        import onnxruntime
        from optimum.onnxruntime import ORTStableDiffusionPipeline  # type: ignore[import-not-found]

        explain_absence(self._folder / "unet/model.onnx")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        self._unet: Any = ORTStableDiffusionPipeline.from_pretrained(self._folder, session_options=options).unet

    def run(self, feeds: Feeds) -> NDArray[Any]:
        """The noise. optimum's graph takes one time for the whole batch."""
        import torch

        latents, states = (torch.from_numpy(feeds[name]) for name in ("latents", "states"))
        time = torch.tensor(int(feeds["timestep"][0]))
        found: NDArray[Any] = self._unet(latents, time, encoder_hidden_states=states, return_dict=False)[0].numpy()
        return found
