"""EDITS on closed forms: classes of three colors, captioned by their color."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from limbeck.errors import ConfigError, DataError, EndpointError
from limbeck.methods.base import DistilledImages
from limbeck.methods.edits import EDITS
from limbeck.models import Models
from limbeck.testing.contract import CHECKS, Check, Subject
from limbeck.testing.models import closed_form_models
from limbeck.testing.sources import ArraySource, blobs
from limbeck.text.captions import write_captions
from support.endpoint import Server, answers, says, status
from support.text_models import PromptedDenoiser, text_models

COLORS = {"red": (1.0, 0.2, 0.2), "green": (0.2, 1.0, 0.2), "blue": (0.2, 0.2, 1.0)}
EACH = 4


@pytest.fixture
def source() -> ArraySource:
    rng = np.random.default_rng(0)
    groups = [
        blobs(rng, center=0.6, count=EACH) * np.array(color, np.float32)[:, None, None] for color in COLORS.values()
    ]
    return ArraySource({f"class {i}": np.concatenate(groups) for i in range(2)})


@pytest.fixture
def captions(source: ArraySource, tmp_path: Path) -> str:
    """A caption for each image, of its class and color."""
    rows = []
    for class_id, class_name in enumerate(source.class_names):
        for i, name in enumerate(source.names(class_id)):
            rows.append((name, f"a {list(COLORS)[i // EACH]} {class_name}"))
    write_captions(tmp_path / "metadata.jsonl", rows)
    return str(tmp_path / "metadata.jsonl")


def method(captions: str, **settings: Any) -> EDITS:
    return EDITS(**{"ipc": 3, "seed": 5, "num_steps": 4, "captions": captions} | settings)


def made(edits: EDITS, source: ArraySource, models: Models | None = None) -> list[DistilledImages]:
    models = models or text_models()
    edits.check(source, models)
    events = edits.distill(edits.units(source), source, models)
    return [event for event in events if isinstance(event, DistilledImages)]


def rows(edits: EDITS, source: ArraySource, models: Models | None = None) -> Iterator[Any]:
    for event in made(edits, source, models):
        yield from event.rows


def number(name: str) -> int:
    return int(name.rpartition("/")[2])


@pytest.mark.parametrize("preset", [EDITS, EDITS.faithful], ids=["default", "faithful"])
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_edits_keeps_the_contract_of_methods(check: Check, preset: Any, tmp_path: Path) -> None:
    """With captions, whose words tell images apart."""
    rng = np.random.default_rng(0)
    words = [f"w{i}" for i in rng.integers(5, size=3 * 210)]
    rows = [(f"class {c}/{i}", f"a class {c} {words[3 * i + c]}") for c in range(3) for i in range(210)]
    write_captions(tmp_path / "metadata.jsonl", rows)

    def make(*, ipc: int, seed: int) -> EDITS:
        return replace(preset(ipc=ipc, seed=seed), captions=str(tmp_path / "metadata.jsonl"), num_steps=6)

    check(Subject(make, models=text_models))


def test_each_prototype_is_of_members_of_one_cluster(source: ArraySource, captions: str) -> None:
    for event in made(method(captions), source):
        groups = [{number(name) // EACH for name in row["from"]} for row in event.rows]
        assert sorted(map(tuple, groups)) == [(0,), (1,), (2,)]


@pytest.mark.parametrize(("k_image", "used"), [(1, 3), (2, 6), (100, 12)])
def test_no_more_members_are_used_than_asked_and_than_there_are(
    source: ArraySource, captions: str, k_image: int, used: int
) -> None:
    for event in made(method(captions, k_image=k_image), source):
        assert len({name for row in event.rows for name in row["from"]}) == used


def test_an_image_prototype_is_the_mean_of_its_members_latents(source: ArraySource, captions: str) -> None:
    """Which the codec of block means decodes to the mean image, where nothing is denoised."""
    (first, _) = made(method(captions, strength=0.0, k_image=2), source)
    (images,) = source.images(0, size=16, fit="crop", batch=100)
    for row, image in zip(first.rows, first.images, strict=True):
        members = images[[number(name) for name in row["from"]]]
        np.testing.assert_allclose(image, members.mean(axis=0), atol=1e-6)


def test_a_prompt_is_a_caption_of_its_cluster(source: ArraySource, captions: str) -> None:
    for row in rows(method(captions), source):
        (group,) = {number(name) // EACH for name in row["from"]}
        assert row["prompt"] == f"a {list(COLORS)[group]} {row['from'][0].partition('/')[0]}"
        assert row["prompt_by"] == "caption"
        assert row["prompt_not"] == ""


def test_prompts_are_what_the_denoiser_is_told(source: ArraySource, captions: str) -> None:
    models = text_models(bucket=6)
    prompts = [row["prompt"] for row in rows(method(captions), source, models)]
    assert isinstance(models.denoiser, PromptedDenoiser)
    assert models.denoiser.prompts[0] == (*prompts, *[""] * 6)


def test_guidance_leads_away_from_the_negative_prompt(source: ArraySource, captions: str) -> None:
    models = text_models(bucket=6)
    made(method(captions, negative_prompt="cartoon"), source, models)
    assert isinstance(models.denoiser, PromptedDenoiser)
    assert all(prompts[6:] == ("cartoon",) * 6 for prompts in models.denoiser.prompts)


def test_class_names_do_without_captions(source: ArraySource) -> None:
    models = text_models(bucket=6)
    by = {row["prompt_by"] for row in rows(method("class-names"), source, models)}
    assert by == {"name"}
    assert isinstance(models.denoiser, PromptedDenoiser)
    assert models.denoiser.prompts[0][:6] == ("class 0",) * 3 + ("class 1",) * 3


def test_images_without_a_caption_are_named_before_anything_runs(source: ArraySource, tmp_path: Path) -> None:
    write_captions(tmp_path / "few.jsonl", [("class 0/0", "a class 0")])
    with pytest.raises(DataError, match=r"few.jsonl has no caption for 11 of 12 images:\n  class 0/1\n"):
        method(str(tmp_path / "few.jsonl")).check(source, text_models())


def test_no_captions_at_all_are_refused_with_what_would_work(source: ArraySource) -> None:
    with pytest.raises(ConfigError, match=r"edits needs captions: captions=FILE(.|\n)*class-names"):
        method("").check(source, text_models())


def test_a_denoiser_that_knows_classes_alone_is_refused(source: ArraySource, captions: str) -> None:
    with pytest.raises(ConfigError, match=r"conditioned on text.*mini-text"):
        method(captions).check(source, closed_form_models())


def test_captions_that_do_not_name_their_class_get_its_name_and_the_reason_is_kept(
    source: ArraySource, tmp_path: Path
) -> None:
    names = [name for class_id in range(2) for name in source.names(class_id)]
    write_captions(tmp_path / "m.jsonl", [(name, "a hand") for name in names])
    for row in rows(method(str(tmp_path / "m.jsonl")), source):
        assert row["prompt"] in ("class 0, a hand", "class 1, a hand")
        assert row["prompt_by"] == "name and caption"
        assert "'a hand' does not name 'class" in row["prompt_not"]


def test_captions_may_call_a_class_by_another_name(source: ArraySource, tmp_path: Path) -> None:
    names = [name for class_id in range(2) for name in source.names(class_id)]
    write_captions(tmp_path / "m.jsonl", [(name, "a Hand") for name in names])
    called = {"class 0": "paw, hand", "class 1": "hand"}
    assert {row["prompt"] for row in rows(method(str(tmp_path / "m.jsonl"), called=called), source)} == {"a Hand"}


def test_a_name_for_a_class_that_there_is_not_is_refused(source: ArraySource, captions: str) -> None:
    with pytest.raises(ConfigError, match="called names the class 'paw'; there is class 0, class 1"):
        method(captions, called={"paw": "hand"}).check(source, text_models())


def test_captions_that_are_too_long_give_way_to_the_name(source: ArraySource, tmp_path: Path) -> None:
    names = [(name, source.class_names[class_id]) for class_id in range(2) for name in source.names(class_id)]
    write_captions(tmp_path / "m.jsonl", [(name, f"a {class_name} {'very ' * 12}long") for name, class_name in names])
    for row in rows(method(str(tmp_path / "m.jsonl")), source):
        assert (row["prompt_by"], row["prompt"]) == ("name", row["prompt"][:7])
        assert "the text encoder takes 12" in row["prompt_not"]


def test_captions_that_are_cut_for_their_features_are_counted_in_the_rows_of_their_class(
    source: ArraySource, tmp_path: Path
) -> None:
    lengths = {"class 0": [1, 12, 13, 20] * 3, "class 1": [12] * 12}
    texts = [
        (name, " ".join(["word"] * length))
        for class_id, class_name in enumerate(source.class_names)
        for name, length in zip(source.names(class_id), lengths[class_name], strict=True)
    ]
    write_captions(tmp_path / "m.jsonl", texts)
    for event, count in zip(made(method(str(tmp_path / "m.jsonl")), source), (6, 0), strict=True):
        assert {row["captions_cut"] for row in event.rows} == {count}


@pytest.mark.parametrize(("part", "found"), [(0.7, {"green"}), (1.0, {"very"})])
def test_words_in_too_many_captions_choose_no_prompt(
    source: ArraySource, tmp_path: Path, part: float, found: set[str]
) -> None:
    """9 captions of a class say very, 3 say green; the three most frequent words are its name's and one of these."""
    names = [(name, source.class_names[class_id]) for class_id in range(2) for name in source.names(class_id)]
    texts = [(name, f"{class_name} {'green' if i % 4 == 0 else 'very'}") for i, (name, class_name) in enumerate(names)]
    write_captions(tmp_path / "m.jsonl", texts)
    chosen = method(str(tmp_path / "m.jsonl"), ipc=1, k_text=12, num_words=3, max_document_frequency=part)
    assert {row["prompt"].split()[-1] for row in rows(chosen, source)} == found


@pytest.fixture
def answer_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def elsewhere(server: Server, captions: str, **settings: Any) -> EDITS:
    endpoint = {"url": server.url, "model": "small", "attempts": 1, "silence_seconds": 5.0}
    return method(captions, prompts="endpoint", endpoint=make_endpoint(endpoint), **settings)


def make_endpoint(settings: dict[str, Any]) -> Any:
    from limbeck.text.endpoint import EndpointSettings

    pytest.importorskip("httpx2", reason="an endpoint needs the extra limbeck[endpoint]")
    return EndpointSettings(**settings)


def class_in(question: str) -> str:
    return question.partition("pictures of ")[2][:7]


def test_a_language_model_merges_the_captions_of_each_cluster(
    source: ArraySource, captions: str, answer_store: Path
) -> None:
    with Server([answers(lambda request: f'"A merged {class_in(request.content)}."')]) as server:
        texts = [(row["prompt"], row["prompt_by"]) for row in rows(elsewhere(server, captions, k_text=2), source)]
    assert texts == [("A merged class 0.", "model")] * 3 + [("A merged class 1.", "model")] * 3
    asked = [request.content for request in server.requests]
    assert len(asked) == 6
    assert all(question.count("\n- ") == 2 for question in asked)


def test_an_answer_that_drops_the_class_is_replaced_and_the_reason_kept(
    source: ArraySource, captions: str, answer_store: Path
) -> None:
    with Server([says("A red picture.")]) as server:
        for row in rows(elsewhere(server, captions), source):
            assert row["prompt_by"] == "caption"
            assert row["prompt_not"].startswith("model: 'A red picture.' does not name 'class")


def test_a_run_that_is_repeated_asks_nothing_again(source: ArraySource, captions: str, answer_store: Path) -> None:
    with Server([answers(lambda request: f"A {class_in(request.content)}."), status(500)]) as server:
        server.behaviors = [server.behaviors[0]] * 6 + [server.behaviors[1]]
        first, second = ([row["prompt"] for row in rows(elsewhere(server, captions), source)] for _ in range(2))
    assert first == second
    assert len(server.requests) == 6


def test_an_endpoint_that_fails_ends_the_run(source: ArraySource, captions: str, answer_store: Path) -> None:
    with Server([status(500)]) as server, pytest.raises(EndpointError, match="answered 500"):
        made(elsewhere(server, captions), source)


def test_outliers_are_left_out(source: ArraySource, captions: str) -> None:
    used = [
        {name for row in rows(method(captions, outliers=share, k_image=100), source) for name in row["from"]}
        for share in (0.0, 0.25)
    ]
    assert (len(used[0]), len(used[1])) == (24, 18)


def test_faithful_has_the_official_figures() -> None:
    edits = EDITS.faithful(ipc=10)
    assert (edits.tau, edits.k_image, edits.k_text, edits.outliers) == (0.01, 5, 5, 0.0)
    assert (edits.num_steps, edits.strength, edits.guidance_scale, edits.sampler) == (50, 0.7, 10.0, "ddim")
    assert edits.negative_prompt == "cartoon, anime, painting"
    assert (edits.num_words, edits.max_document_frequency) == (30, 0.7)
    assert not edits.normalize


def test_faithful_makes_35_steps(source: ArraySource, captions: str) -> None:
    edits = EDITS.faithful(ipc=3)
    assert len(edits.times(text_models())) == 36


def test_an_unknown_setting_of_the_endpoint_is_refused() -> None:
    settings = {"ipc": 2, "prompts": "endpoint", "endpoint": {"url": "http://h/v1", "model": "m", "attempt": 3}}
    with pytest.raises(ValidationError, match=r"endpoint\.attempt"):
        TypeAdapter(EDITS).validate_python(settings)


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"ipc": 0}, "ipc must be at least 1"),
        ({"k_text": 0}, "k_text must be at least 1"),
        ({"num_words": 0}, "num_words must be at least 1"),
        ({"max_document_frequency": 1.5}, "max_document_frequency must lie in 0..1"),
        ({"tau": -1.0}, "tau must be at least 0"),
        ({"tau": float("nan")}, "tau must be at least 0"),
        ({"outliers": 0.6}, "outliers must lie in"),
        ({"strength": 1.1}, "strength must lie in"),
        ({"prompts": "endpoint"}, "prompts=endpoint needs to know which"),
        ({"prompts": "local"}, "prompts=local needs a model"),
    ],
    ids=str,
)
def test_settings_that_cannot_work_are_refused(settings: Any, found: str) -> None:
    with pytest.raises(ConfigError, match=found):
        EDITS(**{"ipc": 3} | settings)
