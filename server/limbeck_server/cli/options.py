"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

from limbeck.backends.onnxruntime import CPU, OnnxRuntime

ProviderOption = Annotated[
    list[str] | None,
    typer.Option(
        "--provider", help="ONNX Runtime provider, in order of preference; may be repeated.", show_default=CPU
    ),
]
ThreadsOption = Annotated[
    int | None, typer.Option(min=1, help="Threads for one engine call.", show_default="one a core")
]
BucketOption = Annotated[int, typer.Option(min=1, help="Samples that share a batch; part of what decides an image.")]
PackOption = Annotated[str, typer.Option(help="A pack folder made by `limbeck export`, or a shipped pack by name.")]


def onnxruntime(providers: list[str] | None, threads: int | None) -> OnnxRuntime:
    """The backend that these options ask for."""
    return OnnxRuntime(providers=tuple(providers or (CPU,)), threads=threads)
