"""What a client may ask for, and what is refused before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from limbeck.errors import DataError
from limbeck.pack import shipped_packs
from limbeck_server.spec import Places, Rules, SpecError, parse

DATASET = "datasets/0123456789abcdef0123456789abcdef"


def no_place(text: str) -> Path:
    raise DataError(f"{text} is below no allowed root")


def rules(**changes: object) -> Rules:
    given = {"packs": shipped_packs(), "backends": ["onnxruntime"], "place": no_place, **changes}
    return Rules(**given)  # type: ignore[arg-type]


def distill(**fields: object) -> dict[str, object]:
    return {"dataset": DATASET, **fields}


def violations(kind: str, data: dict[str, object], **changes: object) -> dict[str, str]:
    with pytest.raises(SpecError) as found:
        rules(**changes).check(parse(kind, data))
    return dict(found.value.violations)


def test_a_spec_needs_no_more_than_a_dataset() -> None:
    rules().check(parse("distill", distill()))


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"method": "d4x"}, "method"),
        ({"settings": {"num_stepz": 4}}, "settings.num_stepz"),
        ({"settings": {"num_steps": "many"}}, "settings.num_steps"),
        ({"ipc": 0}, "ipc"),
        ({"seed": -1}, "seed"),
        ({"pack": "none"}, "pack"),
        ({"backend": "reference"}, "backend"),
        ({"backend_settings": {"threds": 1}}, "backend"),
        ({"role_backends": [{"role": "decoder", "backend": "openvino"}]}, "role_backends.0.backend"),
        ({"step_cache": "sometimes"}, "step_cache"),
        ({"reading": {"normalization": "louder"}}, "reading.normalization"),
        ({"nope": 1}, "nope"),
    ],
)
def test_a_field_that_cannot_work_is_named(fields: dict[str, object], place: str) -> None:
    assert list(violations("distill", distill(**fields))) == [place]


def test_every_wrong_field_is_told_at_once() -> None:
    found = violations("distill", distill(pack="none", backend="openvino", method="d4x"))
    assert sorted(found) == ["backend", "method", "pack"]


def test_a_setting_that_names_a_file_must_lie_below_an_allowed_root() -> None:
    spec = distill(method="edits", settings={"captions": "/etc/passwd"})
    assert "allowed root" in violations("distill", spec)["settings.captions"]


def test_a_setting_that_names_a_file_below_an_allowed_root_is_taken(tmp_path: Path) -> None:
    file = tmp_path / "captions.jsonl"
    file.touch()
    rules(place=Path).check(parse("distill", distill(method="edits", settings={"captions": str(file)})))


def test_a_word_is_no_file() -> None:
    rules().check(parse("distill", distill(method="edits", settings={"captions": "class-names"})))


@pytest.mark.parametrize("url", ["http://169.254.169.254/v1", "http://models.example.evil/v1", "http://models.example"])
def test_a_method_calls_no_address_that_the_operator_did_not_allow(url: str) -> None:
    spec = distill(method="edits", settings={"prompts": "endpoint", "endpoint": {"url": url, "model": "m"}})
    found = violations("distill", spec, endpoints=["http://models.example/v1"])
    assert "no allowed endpoint" in found["settings.endpoint"]


def test_an_allowed_endpoint_is_called() -> None:
    endpoint = {"url": "http://models.example/v1", "model": "m"}
    spec = distill(method="edits", settings={"prompts": "endpoint", "endpoint": endpoint})
    rules(endpoints=["http://models.example/v1"]).check(parse("distill", spec))


def test_a_budget_above_the_servers_is_refused() -> None:
    assert "at most 1000" in violations("distill", distill(budget_nbytes=1001), budget_nbytes=1000)["budget_nbytes"]


def test_whole_numbers_that_came_as_floats_are_integers() -> None:
    method = parse("distill", distill(settings={"num_steps": 4.0, "strength": 0.5})).make_method()  # type: ignore[union-attr]
    assert (method.num_steps, method.strength) == (4, 0.5)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"distilled_sets": []}, "distilled_sets"),
        ({"protocol": "guess"}, "protocol"),
        ({"student": "convnet-99"}, "student"),
        ({"teacher": "nobody"}, "teacher"),
        ({"protocol": "probe"}, "train_dataset"),
        ({"device": "cuda; rm"}, "device"),
        ({"protocol": "inheritance", "train_dataset": DATASET}, "heir_pack"),
    ],
)
def test_an_evaluation_that_cannot_work_is_refused(fields: dict[str, object], place: str) -> None:
    given = {"distilled_sets": ["distilledSets/a"], "test_dataset": DATASET, "protocol": "hard", **fields}
    assert list(violations("evaluate", given)) == [place]


def test_a_job_is_what_its_spec_says(tmp_path: Path) -> None:
    places = Places(packs={"mini": "mini"}, resources={DATASET: str(tmp_path)}, backend={"onnxruntime": {"threads": 1}})
    spec = parse("distill", distill(ipc=3, seed=7, bucket=4, reading={"split": "train"}))
    job = places.job(spec, out=tmp_path / "out", budget_nbytes=2**30)  # type: ignore[arg-type]
    assert (job.method.ipc, job.method.seed, job.bucket, job.budget_nbytes) == (3, 7, 4, 2**30)
    assert job.data == f"{tmp_path}:train"
    assert job.backend.threads == 1  # type: ignore[attr-defined]
