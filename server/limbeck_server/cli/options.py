"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from limbeck.backends.base import Backend
from limbeck.backends.onnxruntime import CPU, OnnxRuntime
from limbeck.backends.reference import Reference
from limbeck.errors import ConfigError

BackendName = Literal["onnxruntime", "reference"]

BackendOption = Annotated[BackendName, typer.Option(help="What runs the graphs; reference is torch, slow and obvious.")]
ProviderOption = Annotated[
    list[str] | None,
    typer.Option(
        "--provider", help="ONNX Runtime provider, in order of preference; may be repeated.", show_default=CPU
    ),
]
ThreadsOption = Annotated[
    int | None, typer.Option(min=1, max=1024, help="Threads for one ONNX Runtime call.", show_default="one a core")
]
BucketOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=4096,
        help="Samples that share a batch; part of what decides an image.",
        show_default="what the budget allows, 16 without one",
    ),
]
BudgetOption = Annotated[
    str | None,
    typer.Option(
        help="The most memory the process may take: 4GiB, 768MiB, or a plain number of GiB. The system enforces it.",
        show_default="no limit",
    ),
]
PackOption = Annotated[str, typer.Option(help="A pack folder made by `limbeck export`, or a shipped pack by name.")]


def make_backend(name: BackendName, providers: list[str] | None, threads: int | None) -> Backend:
    """The backend that these options ask for.

    Raises:
        ConfigError: ONNX Runtime's settings were given for another backend.
    """
    if name == "onnxruntime":
        return OnnxRuntime(providers=tuple(providers or (CPU,)), threads=threads)
    if providers or threads:
        raise ConfigError(f"--provider and --threads are settings of onnxruntime, not of the {name} backend")
    return Reference()
