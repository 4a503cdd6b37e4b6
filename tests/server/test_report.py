"""What commands print."""

from __future__ import annotations

import json

import pytest
import typer

from limbeck.errors import DataError, Interrupted
from limbeck_server.cli.report import Report, parse_settings, reporting


def test_json_output_is_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report(as_json=True)
    report.event("one", value=1)
    report.say("nothing of this")
    report.step("denoise", 2, 5)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        {"event": "one", "value": 1},
        {"event": "progress", "stage": "denoise", "done": 2, "total": 5},
    ]


def test_text_output_has_no_events(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report(as_json=False)
    report.event("one", value=1)
    report.say("two")
    assert capsys.readouterr().out == "two\n"


@pytest.mark.parametrize(("error", "code"), [(DataError("no images"), 3), (Interrupted("stopped"), 130)])
def test_an_error_becomes_its_message_and_its_exit_code(
    error: Exception, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as ended, reporting(False):
        raise error
    assert ended.value.exit_code == code
    assert str(error) in capsys.readouterr().err


def test_settings_are_json_where_they_read_as_json_and_text_otherwise() -> None:
    parsed = parse_settings(["a=1", "b=0.5", "c=[0.1, 0.9]", "d=null", "e=ddim", "f=a=b"])
    assert parsed == {"a": 1, "b": 0.5, "c": [0.1, 0.9], "d": None, "e": "ddim", "f": "a=b"}


def test_a_setting_without_a_value_is_refused() -> None:
    with pytest.raises(typer.BadParameter, match="name=value, got 'strength'"):
        parse_settings(["strength"])
