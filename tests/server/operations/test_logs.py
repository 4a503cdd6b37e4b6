"""Log lines: what a machine finds in them, and that nobody can write a false one."""

from __future__ import annotations

import asyncio
import io
import json
import logging

import pytest

from limbeck_server.operations.logs import configure_logging, log_fields


@pytest.fixture
def lines():
    """A function that configures a form and returns the stream to read."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level

    def to(form):
        stream = io.StringIO()
        configure_logging(form, stream=stream)
        return stream

    yield to
    root.handlers[:] = before
    root.setLevel(level)


LOG = logging.getLogger("limbeck_server.test")


def one(stream):
    (line,) = stream.getvalue().splitlines()
    return json.loads(line)


def test_a_json_line_has_the_event_and_its_fields_apart(lines):
    stream = lines("json")
    LOG.info("job_leased job=%s units=%d seconds=%.1f", "abc", 3, 0.25)
    found = one(stream)
    assert (found["event"], found["job"], found["units"], found["seconds"]) == ("job_leased", "abc", 3, 0.25)
    assert found["message"] == "job_leased job=abc units=3 seconds=0.2"
    assert (found["level"], found["logger"]) == ("info", "limbeck_server.test")


def test_fields_held_around_the_code_are_on_its_lines_and_its_tasks_lines(lines):
    stream = lines("json")

    async def work():
        LOG.info("step_done index=%d", 7)

    async def main():
        with log_fields(job="abc"), log_fields(unit="2"):
            task = asyncio.create_task(work())
        LOG.info("outside_now")
        await task

    asyncio.run(main())
    outside, inside = map(json.loads, stream.getvalue().splitlines())
    assert (inside["job"], inside["unit"], inside["index"]) == ("abc", "2", 7)
    assert "job" not in outside


def test_a_field_cannot_take_the_place_of_the_lines_own(lines):
    stream = lines("json")
    LOG.info("odd_event level=%s time=%s", "debug", "never")
    found = one(stream)
    assert (found["level"], found["level_"], found["time_"]) == ("info", "debug", "never")


def test_a_foreign_line_is_kept_as_it_is(lines):
    stream = lines("json")
    LOG.warning("100%% of %s=%s", "a", "b")
    found = one(stream)
    assert found["message"] == "100% of a=b"
    assert "event" not in found


HOSTILE = 'x\n2026-01-01T00:00:00.000Z info    job_leased job=forged\r\x1b[31m\u202e"'


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_value_stays_on_its_line(lines, form):
    stream = lines(form)
    LOG.info("dataset_named name=%s", HOSTILE)
    assert len(stream.getvalue().splitlines()) == 1
    assert "\x1b" not in stream.getvalue()


def test_the_lines_of_a_traceback_cannot_be_taken_for_others(lines):
    stream = lines("text")
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        LOG.exception("unit_failed")
    _, *rest = stream.getvalue().splitlines()
    assert all(line.startswith("    ") for line in rest)


def test_a_traceback_is_in_the_json_line(lines):
    stream = lines("json")
    try:
        raise ValueError("why")
    except ValueError:
        LOG.exception("unit_failed")
    assert one(stream)["error"].endswith("ValueError: why")
