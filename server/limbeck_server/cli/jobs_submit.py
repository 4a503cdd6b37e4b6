"""`limbeck jobs submit`: a distillation on a server, of images here or there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from limbeck.budget import parse_nbytes
from limbeck.errors import ConfigError
from limbeck_server.cli.jobs_connection import on_server
from limbeck_server.cli.jobs_report import watch_job
from limbeck_server.cli.options import (
    BackendSetOption,
    BucketOption,
    BudgetOption,
    ClassNamesOption,
    ImageColumnOption,
    IpcOption,
    LabelColumnOption,
    MethodOption,
    NormalizationOption,
    PresetOption,
    RoleBackendOption,
    SettingsOption,
    StepCacheOption,
    class_names_in,
)
from limbeck_server.cli.report import Report, parse_settings

if TYPE_CHECKING:
    from limbeck_server.client import Client


@on_server
def submit(
    client: Client,
    report: Report,
    *,
    data: Annotated[
        str | None,
        typer.Option(help="Real images: a folder or file here, which is uploaded, or datasets/ID of the server."),
    ] = None,
    server_path: Annotated[
        str | None, typer.Option(help="Instead of --data: where the images are on the server's own disk.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Show what happens until the job is done.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="Wait, and fetch the distilled set into this folder, which must not exist.")
    ] = None,
    ipc: IpcOption = 1,
    pack: Annotated[str, typer.Option(help="A pack of the server, by name.")] = "mini",
    method: MethodOption = "d4m",
    preset: PresetOption = "default",
    settings: SettingsOption = None,
    seed: Annotated[int, typer.Option(help="With class and index, fixes every image.")] = 0,
    budget: BudgetOption = None,
    bucket: BucketOption = None,
    step_cache: StepCacheOption = None,
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="Leave broken images out and list them in the manifest.")
    ] = False,
    image_column: ImageColumnOption = None,
    label_column: LabelColumnOption = None,
    normalization: NormalizationOption = None,
    class_names: ClassNamesOption = None,
    split: Annotated[
        str | None,
        typer.Option(help="Of a file with several splits: which one. Of a folder of ImageNet's classes: a subset."),
    ] = None,
    backend: Annotated[str | None, typer.Option(help="What runs the graphs.", show_default="the server's")] = None,
    backend_set: BackendSetOption = None,
    role_backend: RoleBackendOption = None,
    priority: Annotated[int, typer.Option(help="Higher goes first; above 0 is for admins.")] = 0,
    request_id: Annotated[
        str | None, typer.Option(help="A mark of your own; the same one again gives the first job.")
    ] = None,
) -> None:
    """Make a distillation job on a server.

    Once its name is printed, the job survives whatever happens to the server or to this command.

    Example: limbeck jobs submit --server gpu:50051 --data photos/train --ipc 10 --out distilled
    """
    options = {
        "preset": preset,
        "settings": parse_settings(settings or []),
        "ipc": ipc,
        "seed": seed,
        "pack": pack,
        "budget_nbytes": None if budget is None else parse_nbytes(budget),
        "bucket": bucket,
        "step_cache": step_cache,
        "skip_unreadable": skip_unreadable,
        "reading": _reading(image_column, label_column, normalization, class_names, split),
        "backend": backend,
        "backend_settings": parse_settings(backend_set or [], option="--backend-set"),
        "role_backends": [_role_backend(text) for text in role_backend or []],
    }
    if out is not None and out.exists():
        raise ConfigError(f"{out} exists, and limbeck never writes over anything; give another --out")
    dataset = _dataset(client, report, data, server_path)
    given: Any = {name: value for name, value in options.items() if value is not None}
    job = client.submit(method, dataset, priority=priority, request_id=request_id, **given)
    report.event("submitted", job=job.name, dataset=dataset)
    report.say(f"{job.name} is submitted")
    if wait or out is not None:
        job = watch_job(client, job.name, report)
        report.event("succeeded", job=job.name, distilled_set=job.distilled_set)
    if out is not None:
        with report.progress():
            client.download(job, out, on_progress=report.step)
        report.event("fetched", out=str(out))
        report.say(f"the set is in {out}\nto look at: {out / 'preview.png'}")


def _dataset(client: Client, report: Report, data: str | None, server_path: str | None) -> str:
    """The name of the dataset that is asked for, once the server can read it."""
    if (data is None) == (server_path is None):
        raise ConfigError("say where the images are by --data or by --server-path, one of them")
    if server_path is not None:
        return client.register_dataset(server_path).name
    assert data is not None
    if data.startswith("datasets/") and not Path(data).exists():
        return data
    with report.progress():
        dataset = client.upload_dataset(data, on_progress=report.step)
    report.say(f"{dataset.name} has {dataset.num_images} images of {dataset.num_classes} classes")
    return dataset.name


def _reading(
    image_column: str | None,
    label_column: str | None,
    normalization: str | None,
    class_names: Path | None,
    split: str | None,
) -> dict[str, Any]:
    reading = {
        "image_column": image_column,
        "label_column": label_column,
        "normalization": normalization,
        "class_names": class_names_in(class_names),
        "split": split,
    }
    return {name: value for name, value in reading.items() if value is not None}


def _role_backend(text: str) -> dict[str, Any]:
    role, equals, rest = text.partition("=")
    backend, _, settings = rest.partition(":")
    if not (role and equals and backend):
        raise ConfigError(f"--role-backend {text!r} is not ROLE=BACKEND[:NAME=VALUE,…]")
    pairs = settings.split(",") if settings else []
    return {"role": role, "backend": backend, "settings": parse_settings(pairs, option="--role-backend")}
