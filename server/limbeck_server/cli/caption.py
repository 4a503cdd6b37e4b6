"""`limbeck caption`: a caption of every real image, in a file that methods read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer
from pydantic import TypeAdapter, ValidationError

from limbeck.backbone import open_backbone
from limbeck.backends.base import Backend
from limbeck.data.source import open_source
from limbeck.errors import ConfigError, Interrupted
from limbeck.methods.captioning import Captioner, ConceptCaptioner, SeeingCaptioner, caption_source
from limbeck.pack import Pack
from limbeck.text.answers import AnswerStore
from limbeck.text.captions import write_captions
from limbeck.text.concepts import TEMPLATE, Concepts
from limbeck.text.endpoint import Endpoint, EndpointSettings
from limbeck_server.cli.options import (
    BackendOption,
    BackendSetOption,
    DataOption,
    ImageColumnOption,
    LabelColumnOption,
    PackOption,
    ProviderOption,
    ThreadsOption,
    given_options,
    make_backend,
    refuse_taken_file,
)
from limbeck_server.cli.report import JsonOption, parse_settings, reporting
from limbeck_server.runner.interrupt import stop_signals

_USED_BY = {
    **dict.fromkeys(("url", "model", "called", "image_size", "settings"), "endpoint"),
    **dict.fromkeys(
        ("concepts", "count", "template", "pack", "backend", "backend_set", "provider", "threads"), "concepts"
    ),
}


def caption(
    context: typer.Context,
    data: DataOption,
    out: Annotated[Path, typer.Option(help="The file to make, as photos/train/metadata.jsonl; it must not exist.")],
    by: Annotated[
        Literal["concepts", "endpoint"],
        typer.Option(
            help="concepts: a template with the class and what a linear classifier on the pack's backbone finds an "
            "image like. endpoint: a vision-language model looks at each image."
        ),
    ] = "concepts",
    url: Annotated[
        str | None, typer.Option(help="endpoint: what /chat/completions is below, as http://localhost:8080/v1.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="endpoint: the model's name there.")] = None,
    called: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CLASS=NAMES",
            help="endpoint: what a class is called in captions; synonyms between commas; may be repeated.",
            show_default=False,
        ),
    ] = None,
    image_size: Annotated[int, typer.Option(min=8, help="endpoint: height and width of what the model sees.")] = 336,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=VALUE", help="A setting of the endpoint, such as attempts=9.", show_default=False
        ),
    ] = None,
    concepts: Annotated[
        Path | None,
        typer.Option(help="concepts: an npz file with names and vectors, instead of the other classes."),
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="concepts: how many are named.")] = 2,
    template: Annotated[str, typer.Option(help="concepts: with {name} and {concepts}.")] = TEMPLATE,
    pack: PackOption = "mini",
    image_column: ImageColumnOption = None,
    label_column: LabelColumnOption = None,
    backend: BackendOption = "onnxruntime",
    backend_set: BackendSetOption = None,
    provider: ProviderOption = None,
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a caption of every real image, for methods that read them.

    What an endpoint has answered is kept: after a stop or a failure the same command continues. Its API key is read
    from the environment variable LIMBECK_API_KEY.

    Example: limbeck caption --data photos/train --out photos/train/metadata.jsonl
    """
    with reporting(as_json) as report:
        for option in given_options(context):
            if _USED_BY.get(option, by) != by:
                name = {"settings": "set"}.get(option, option.replace("_", "-"))
                raise ConfigError(f"--{name} is for --by {_USED_BY[option]}; leave it out")
        refuse_taken_file(out, "--out")
        source = open_source(data, image_column=image_column, label_column=label_column)
        if by == "endpoint":
            names = {name: str(value) for name, value in parse_settings(called or [], option="--called").items()}
            chosen = _seeing(_endpoint(url, model, settings or []), names, image_size)
        else:
            runs = make_backend(backend, provider, threads, backend_set, pack=pack)
            chosen = _by_concepts(pack, runs, Concepts.read(concepts) if concepts else None, count, template)
        with stop_signals() as stop, report.progress(), chosen as captioner:

            def step(done: int, total: int) -> None:
                report.step("caption", done, total)
                if stop():
                    raise Interrupted("stopped; what was answered is kept, the same command continues")

            rows = caption_source(source, captioner, on_caption=step)
        write_captions(out, rows)
        report.event("captioned", out=str(out), images=len(rows))
        report.say(f"{len(rows)} captions in {out}, such as: {rows[0][1]}")


def _endpoint(url: str | None, model: str | None, settings: Sequence[str]) -> EndpointSettings:
    if url is None or model is None:
        raise ConfigError("--by endpoint needs to know which: --url http://localhost:8080/v1 --model NAME")
    given = {**parse_settings(settings), "url": url, "model": model}
    try:
        return TypeAdapter(EndpointSettings).validate_python(given)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"setting '{place}' of the endpoint: {first['msg']}, got {first['input']!r}") from error


@contextmanager
def _seeing(endpoint: EndpointSettings, called: Mapping[str, str], image_size: int) -> Iterator[Captioner]:
    with Endpoint(endpoint, AnswerStore()) as model:
        yield SeeingCaptioner(model=model, called=called, image_size=image_size)


@contextmanager
def _by_concepts(
    pack: str, backend: Backend, concepts: Concepts | None, count: int, template: str
) -> Iterator[Captioner]:
    with open_backbone(Pack.open(pack), backend) as backbone:
        yield ConceptCaptioner(backbone=backbone, concepts=concepts, count=count, template=template)
