"""Options that several commands share."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, cast, get_args

import typer

from limbeck.backends.base import Backend
from limbeck.backends.onnxruntime import CPU
from limbeck.data.normalization import Normalization
from limbeck.diffusion.step_cache import StepCache
from limbeck.errors import ConfigError, OutputError
from limbeck.imagenet import SUBSETS, subset
from limbeck.methods import METHODS
from limbeck.pack import Role
from limbeck_server.backends import BACKENDS, BackendName, named_backend
from limbeck_server.cli.report import parse_settings

BackendOption = Annotated[BackendName, typer.Option(help="What runs the graphs; reference is torch, slow and obvious.")]
BackendSetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--backend-set",
        metavar="NAME=VALUE",
        help="A setting of the backend, such as precision=bfloat16 of openvino or targets=SM86,SM89 of tensorrt-rtx; "
        "may be repeated. A wrong name is answered with those there are.",
    ),
]
ProviderOption = Annotated[
    list[str] | None,
    typer.Option(
        "--provider", help="ONNX Runtime provider, in order of preference; may be repeated.", show_default=CPU
    ),
]
ThreadsOption = Annotated[
    int | None,
    typer.Option(min=1, max=1024, help="Threads for one call of onnxruntime or openvino.", show_default="one a core"),
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
StepCacheOption = Annotated[
    str | None,
    typer.Option(
        help="Run only the outer blocks of a DiT on some steps, as every=2 or every=2,order=1. The quality gate must "
        "have accepted it (limbeck build --step-cache), and a walk have 25 steps.",
        show_default="off",
    ),
]
DataOption = Annotated[
    str,
    typer.Option(
        help="Real images: a folder of class folders, parquet, or npz; for diver a distilled set, .pt or .safetensors."
    ),
]
IpcOption = Annotated[int, typer.Option(help="Images per class.")]
MethodOption = Annotated[
    str,
    typer.Option(
        help=f"One of: {', '.join(METHODS)}; or one that an installed package registers. ddps is a reconstruction."
    ),
]
PresetOption = Annotated[str, typer.Option(help="default, or faithful: the official release's settings.")]
SettingsOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="A setting of the method; may be repeated."),
]
ImageColumnOption = Annotated[str | None, typer.Option(help="Parquet: the column with the images.")]
LabelColumnOption = Annotated[str | None, typer.Option(help="Parquet: the column with the labels.")]
NormalizationOption = Annotated[
    str | None,
    typer.Option(
        help="Tensors and npz: what was done to the pixels: imagenet, raw, or R,G,B/R,G,B (mean/std).",
        show_default="nothing",
    ),
]
ClassNamesOption = Annotated[
    Path | None,
    typer.Option(
        help="Tensors: a file with one class name a line, in label order, as the pack calls them; or a subset of "
        "ImageNet by name, such as imagewoof.",
        show_default="those in the file, or the labels as digits",
    ),
]
PackOption = Annotated[str, typer.Option(help="A pack folder made by `limbeck export`, or a shipped pack by name.")]


RoleBackendOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="ROLE=BACKEND[:NAME=VALUE,…]",
        help="Another backend for one graph of the pack, with its settings, such as "
        "decoder=openvino:precision=bfloat16; may be repeated.",
        show_default="none",
    ),
]


def step_cache_of(text: str | None) -> StepCache | None:
    """The step cache that `--step-cache` was given, or None.

    Raises:
        ConfigError: It is none.
    """
    return None if text is None else StepCache.parse(text)


def reading_of(
    image_column: str | None, label_column: str | None, normalization: str | None, class_names: Path | None
) -> dict[str, Any]:
    """How images are read, for `open_source`.

    Raises:
        ConfigError: A normalization that is none, or class names that cannot be read.
    """
    return {
        "image_column": image_column,
        "label_column": label_column,
        "normalization": None if normalization is None else Normalization.parse(normalization),
        "class_names": class_names_in(class_names),
    }


def given_options(context: typer.Context) -> list[str]:
    """The parameters that stand on the command line."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return [name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"]


def refuse_taken_file(file: Path, option: str) -> None:
    """Refuse a file that is there, or whose folder is not.

    Raises:
        OutputError: With what to do.
    """
    if file.exists():
        raise OutputError(f"{file} exists; move it away, or give another {option}")
    if not os.access(file.parent, os.W_OK):
        raise OutputError(f"{file.parent} is no folder that can be written to; make it first, or give another {option}")


def class_names_in(file: Path | None) -> Sequence[str] | None:
    """The class names of a file, or of a subset of ImageNet where there is no such file.

    Raises:
        ConfigError: They cannot be read.
    """
    if file is None:
        return None
    if str(file) in SUBSETS and not file.exists():
        return subset(str(file))
    try:
        return file.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"--class-names {file} cannot be read: {error}; of ImageNet there is {', '.join(SUBSETS)}"
        ) from error


def make_backend(
    name: BackendName,
    providers: Sequence[str] | None,
    threads: int | None,
    settings: Sequence[str] | None,
    *,
    pack: str,
) -> Backend:
    """The backend that these options ask for.

    Args:
        name: Which.
        providers: As `--backend-set providers=`, a list.
        threads: As `--backend-set threads=`.
        settings: What `--backend-set` was given.
        pack: For TensorRT, whose engines are built for certain sizes: those of this pack, unless profiles are given.

    Raises:
        ConfigError: A setting that the backend does not have, or a value that does not fit.
        PackError: TensorRT is to take its sizes from a pack that is not there.
    """
    given = parse_settings(settings or [], option="--backend-set")
    if providers:
        given["providers"] = providers
    if threads:
        given["threads"] = threads
    return named_backend(name, given, pack=pack)


def make_role_backends(texts: Sequence[str], threads: int | None, *, pack: str) -> dict[Role, Backend]:
    """The backends of single roles that `--role-backend` was given.

    Args:
        texts: Each as ROLE=BACKEND or ROLE=BACKEND:NAME=VALUE,…
        threads: As of the other roles.
        pack: As `make_backend`'s.

    Raises:
        ConfigError: A text that is none, a role or a backend that there is not, or as `make_backend`.
    """
    made: dict[Role, Backend] = {}
    for text in texts:
        role, equals, rest = text.partition("=")
        name, _, settings = rest.partition(":")
        if not equals or role not in get_args(Role) or name not in BACKENDS:
            raise ConfigError(
                f"--role-backend {text!r} is not ROLE=BACKEND[:NAME=VALUE,…]; roles are {', '.join(get_args(Role))}, "
                f"backends {', '.join(BACKENDS)}"
            )
        listed = settings.split(",") if settings else []
        made[cast(Role, role)] = make_backend(cast(BackendName, name), None, threads, listed, pack=pack)
    return made
