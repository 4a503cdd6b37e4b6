"""Who runs on the GPU, and the training step of the mini denoiser."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from benchmarks.harness.contest import Case, Entry
from benchmarks.harness.options import SEED
from benchmarks.layout import Layout
from benchmarks.prepare import example
from numpy.typing import NDArray

Feeds = Mapping[str, NDArray[Any]]

TRAIN = "one step, batch 256"
TORCH = "benchmarks.contestants.torch_networks:Torch"
PACKS = "benchmarks.contestants.limbeck_packs"
PACK_OF: Mapping[str, tuple[str, str, dict[str, str]]] = {
    "dit": ("dit", "CutPack", {}),
    "unet": ("sd", "CutPack", {}),
    "vae": ("dit", "GraphOfPack", {"role": "decoder"}),
    "backbone": ("backbone", "GraphOfPack", {"role": "backbone"}),
}


def network_contest(
    layout: Layout, network: str, *, batch: int, rounds: int, device: str, threads: int
) -> tuple[list[Entry], Case]:
    """Torch, ONNX Runtime and TensorRT at every precision they have, on one batch.

    Without CUDA ("cpu") the reference and ONNX Runtime's CPU run, and whoever needs a GPU says that it found none.
    """
    case = Case(name=f"{network}, batch {batch}", feeds=example(layout, network, batch=batch, seed=SEED), rounds=rounds)
    source, target, more = PACK_OF[network]
    torch: dict[str, Any] = {"kind": network, "source": str(layout.source(network)), "threads": threads}
    cuda = {**torch, "device": "cuda"}
    rows: list[tuple[str, str, dict[str, Any]]] = [
        (f"torch fp32, {device}", TORCH, {**torch, "device": device}),
        ("torch fp16", TORCH, {**cuda, "dtype": "float16"}),
        ("torch bf16", TORCH, {**cuda, "dtype": "bfloat16"}),
        ("torch bf16, compiled", TORCH, {**cuda, "dtype": "bfloat16", "compiled": True}),
        ("torch fp16, xformers", TORCH, {**cuda, "dtype": "float16", "attention": "xformers"}),
    ]
    for precision, backend in (
        ("fp32", "onnxruntime"),
        ("int8", "onnxruntime"),
        ("fp16", "onnxruntime"),
        ("fp32", "cuda"),
        ("fp16", "cuda"),
        ("fp16", "cuda graphs"),
        ("int8-static", "cuda"),
        ("fp16", "tensorrt"),
        ("bf16", "tensorrt"),
        ("int8-static", "tensorrt"),
        ("fp16", "tensorrt-rtx"),
        ("int8-static", "tensorrt-rtx"),
    ):
        pack = {"pack": str(layout.pack(source, precision)), "backend": backend, "threads": threads}
        rows.append((f"limbeck {precision}, {backend}", f"{PACKS}:{target}", {**pack, **more}))
    return [
        Entry(
            name=name,
            kind="peer" if number else "reference",
            target=target,
            settings=settings,
            gib=0.1,
            cases=(case.name,),
        )
        for number, (name, target, settings) in enumerate(rows)
    ], case


def train_contest(*, device: str, rounds: int, threads: int) -> tuple[list[Entry], Case]:
    """The training step of the mini denoiser, in fp32 and in bf16 autocast."""
    rng = np.random.default_rng(SEED)
    feeds: Feeds = {
        "clean": rng.standard_normal((256, 16, 8, 8), dtype=np.float32),
        "noise": rng.standard_normal((256, 16, 8, 8), dtype=np.float32),
        "labels": rng.integers(0, 10, 256).astype(np.int64),
        "times": rng.integers(0, 1000, 256).astype(np.int64),
    }
    settings = {"device": device, "threads": threads}
    target = f"{__name__}:TrainingStep"
    return [
        Entry(name=f"training, fp32, {device}", kind="reference", target=target, settings=settings, cases=(TRAIN,)),
        Entry(
            name=f"training, bf16 autocast, {device}",
            kind="peer",
            target=target,
            settings={**settings, "autocast": True},
            cases=(TRAIN,),
        ),
    ], Case(name=TRAIN, feeds=feeds, rounds=rounds)


class TrainingStep:
    """One optimizer step of the mini denoiser, as `tools.mini.train` makes it: forward, backward, AdamW.

    Args:
        device: "cpu" or "cuda".
        autocast: Compute in bfloat16 where torch's autocast does; weights and optimizer stay float32.
        threads: Threads on the CPU.
    """

    packages: ClassVar[tuple[str, ...]] = ("torch", "diffusers")

    def __init__(self, *, device: str, autocast: bool = False, threads: int) -> None:
        """Keep the settings."""
        self._device, self._autocast, self._threads = device, autocast, threads

    def load(self) -> None:
        """Build network and optimizer."""
        import torch
        from benchmarks.networks import make_torchvision_importable

        make_torchvision_importable()
        from tools.mini.diffusion import Diffusion
        from tools.mini.dit import DiTShape, build_dit, initialize, tie_embedders

        torch.set_num_threads(self._threads)
        torch.manual_seed(SEED)
        model = build_dit(DiTShape())
        tie_embedders(model)
        initialize(model)
        self._model = model.to(self._device).train()
        self._diffusion = Diffusion(torch.device(self._device))
        self._optimizer = torch.optim.AdamW(self._model.parameters(), lr=1e-4, fused=True)

    def run(self, feeds: Feeds) -> NDArray[Any]:
        """One step; its loss, shape (1, 1)."""
        import torch

        clean, noise, labels, times = (
            torch.from_numpy(feeds[name]).to(self._device) for name in ("clean", "noise", "labels", "times")
        )
        with torch.autocast(self._device, torch.bfloat16, enabled=self._autocast):
            output = self._model(self._diffusion.noised(clean, noise, times), times, labels).sample
        error, bound = self._diffusion.losses(output.float(), clean, noise, times)
        loss = error.mean() + bound.mean()
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        return np.array([[float(loss.detach())]], np.float32)
