"""`limbeck evaluate`, `inspect` and `doctor` as real processes on the shipped pack."""

from __future__ import annotations

from pathlib import Path

from support.cli import limbeck

PHOTOS = Path(__file__).parents[2] / "examples/data/sign_digits/test"


def test_evaluate_compares_distilled_random_and_all_real_images(tmp_path: Path) -> None:
    out = tmp_path / "set"
    assert limbeck("distill", "--data", PHOTOS, "--out", out, "--ipc", "3").code == 0
    done = limbeck("evaluate", out, "--train", PHOTOS, "--test", PHOTOS, "--seeds", "2", "--json")
    assert done.code == 0, done.out
    rows = [event for event in done.events if event["event"] == "accuracy"]
    assert [(row["trained_on"], row["images"], len(row["all"])) for row in rows] == [
        ("distilled", 30, 1),
        ("random real", 30, 2),
        ("all real", 413, 1),
    ]
    # tested on the very images it was trained on
    assert rows[2]["mean"] > 0.99
    assert rows[0]["mean"] > 0.2


def test_a_linear_head_and_an_inherited_classifier_are_reported_with_what_was_not_as_published(tmp_path: Path) -> None:
    out, page = tmp_path / "set", tmp_path / "page.html"
    assert limbeck("distill", "--data", PHOTOS, "--out", out, "--method", "random", "--ipc", "1").code == 0
    common = ("evaluate", out, "--train", PHOTOS, "--test", PHOTOS, "--seeds", "1", "--epochs", "3", "--json")
    linear = limbeck(*common, "--protocol", "linear", "--baseline", "random", "--report", page)
    assert linear.code == 0, linear.out
    rows = [event for event in linear.events if event["event"] == "accuracy"]
    assert [row["trained_on"] for row in rows] == ["distilled", "random real"]
    assert rows[0]["overrides"] == {"epochs": {"published": 1000, "used": 3}}
    assert page.read_text().count("data:image/png;base64,") == 10
    assert "Not as published" in page.read_text()
    heir = limbeck(*common, "--protocol", "inheritance", "--heir", "mini-text")
    assert heir.code == 0, heir.out
    assert len([event for event in heir.events if event["event"] == "accuracy"]) == 7


def test_inspect_shows_packs_and_sets_and_refuses_anything_else(tmp_path: Path) -> None:
    done = limbeck("inspect", "mini", "--json")
    assert done.code == 0
    generating = {"conditioner", "trunk", "encoder", "decoder"}
    others = {"features", "backbone", "gradient", "flow_gradient"}
    assert set(done.events[0]["manifest"]["graphs"]) == generating | others
    done = limbeck("inspect", tmp_path, "--json")
    assert done.code == 2
    assert "neither a pack" in done.error["message"]


def test_doctor_passes_its_probe_on_the_shipped_pack() -> None:
    done = limbeck("doctor", "--pack-only", "--json")
    assert done.code == 0, done.out
    assert done.events[-1]["passed"] is True


def test_doctor_tells_of_the_machine_even_where_the_pack_is_broken() -> None:
    done = limbeck("doctor", "--pack-only", "--pack", "no-such-pack", "--json")
    assert done.code == 4
    assert done.events[0]["event"] == "machine"
