"""`limbeck jobs` against a server in another process."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("grpc", reason="the server extra is not installed")

from typer.testing import CliRunner

from limbeck_server.cli import app
from limbeck_server.client import Client
from support.cli import ENVIRONMENT, Done, files_of, limbeck, start, wait_for
from support.served import Served, served
from support.uploads import pictures, write_files


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("server")) as server:
        yield server


def jobs(server: Served, *arguments: str | Path) -> Done:
    """The command in this process: starting one takes longer than most of these tests."""
    environment = {"LIMBECK_ADDRESS": server.address, "COLUMNS": "160"}
    result = CliRunner().invoke(app, ["jobs", *map(str, arguments)], env=environment)
    return Done(result.exit_code, result.stdout, result.stderr)


def submitted(server: Served, *arguments: str | Path) -> str:
    done = jobs(server, "submit", "--data", server.dataset, "--method", "random", *arguments, "--json")
    assert done.code == 0, done.out + done.err
    return str(done.events[0]["job"])


def test_images_here_become_a_set_here(server: Served, tmp_path: Path) -> None:
    photos = write_files(tmp_path / "photos", pictures("cat", "dog"))
    out = tmp_path / "out"
    done = limbeck(
        *("jobs", "submit", "--data", photos, "--method", "random", "--ipc", "2", "--out", out, "--json"),
        environment={**ENVIRONMENT, "LIMBECK_ADDRESS": server.address},
        timeout=60,
    )
    assert done.code == 0, done.out + done.err
    said = {event["event"]: event for event in done.events}
    assert [said["submitted"]["job"], str(out)] == [said["succeeded"]["job"], said["fetched"]["out"]]
    assert files_of(out) == files_of(server.folder / "sets" / said["submitted"]["job"].partition("/")[2])


def test_without_json_a_person_reads_what_happens(server: Served, tmp_path: Path) -> None:
    done = jobs(server, "submit", "--data", server.dataset, "--method", "random", "--out", tmp_path / "out")
    assert done.code == 0, done.err
    assert "is submitted" in done.out
    assert "succeeded" in done.out
    assert "to look at" in done.out


def test_settings_arrive_as_they_were_given(server: Served) -> None:
    name = submitted(server, "--seed", "9", "--budget", "1GiB", "--bucket", "4", "--split", "train")
    with Client(server.address) as client:
        spec = client.job(name).spec
    assert (spec["seed"], spec["budget_nbytes"], spec["bucket"]) == (9, 2**30, 4)
    assert spec["reading"] == {"split": "train"}


def test_a_setting_that_cannot_work_is_an_error_of_settings(server: Served) -> None:
    done = jobs(server, "submit", "--data", server.dataset, "--method", "random", "--set", "speed=3", "--json")
    assert (done.code, done.error["type"]) == (2, "RequestError")
    assert "distill.settings.speed" in done.error["message"]


def test_images_are_named_once(server: Served) -> None:
    done = jobs(server, "submit", "--method", "random", "--json")
    assert (done.code, "by --data or by --server-path" in done.error["message"]) == (2, True)


def test_a_repeated_request_id_submits_once(server: Served) -> None:
    assert submitted(server, "--request-id", "once") == submitted(server, "--request-id", "once")


def test_jobs_are_listed_newest_first(server: Served) -> None:
    names = [submitted(server), submitted(server)]
    listed = [event["name"] for event in jobs(server, "list", "--json").events]
    assert [name for name in listed if name in names] == names[::-1]
    assert len(jobs(server, "list", "--limit", "1", "--json").events) == 1


def test_a_table_shows_the_jobs(server: Served) -> None:
    name = submitted(server, "--wait")
    shown = jobs(server, "list", "--state", "succeeded").out
    assert name.removeprefix("jobs/") in shown
    assert "random" in shown


def test_watching_says_every_event_and_ends_with_the_job(server: Served) -> None:
    name = submitted(server, "--wait")
    done = jobs(server, "watch", name.partition("/")[2], "--json")
    *events, job = done.events
    assert [event["sequence"] for event in events if event["sequence"]] == list(range(1, 9))
    assert (job["event"], job["state"], done.code) == ("job", "succeeded", 0)


def test_logs_are_the_events_until_now(server: Served) -> None:
    name = submitted(server, "--wait")
    events = jobs(server, "logs", name, "--json").events
    assert [event["sequence"] for event in events] == list(range(1, 9))
    assert "unit 2 is finished, 3 of 3" in jobs(server, "logs", name).out


def test_a_set_is_fetched_once(server: Served, tmp_path: Path) -> None:
    name = submitted(server, "--wait")
    assert jobs(server, "fetch", name, "--out", tmp_path / "out").code == 0
    again = jobs(server, "fetch", name, "--out", tmp_path / "out", "--json")
    assert (again.code, "never writes over" in again.error["message"]) == (7, True)


def test_a_job_that_is_deleted_is_not_listed_any_more_and_its_set_stays(server: Served) -> None:
    name = submitted(server, "--wait")
    done = jobs(server, "delete", name.partition("/")[2])
    assert done.code == 0, done.err
    assert name not in [event["name"] for event in jobs(server, "list", "--json").events]
    with Client(server.address) as client:
        assert name in [found.job for found in client.distilled_sets()]


@pytest.mark.parametrize("kind", ["distilled_set", "dataset"])
def test_deleting_a_job_deletes_nothing_else(server: Served, kind: str) -> None:
    name = submitted(server, "--wait")
    with Client(server.address) as client:
        other = client.set_of(name) if kind == "distilled_set" else server.dataset
        done = jobs(server, "delete", other, "--json")
        assert (done.code, done.error["type"]) == (2, "RequestError")
        assert getattr(client, kind)(other).name == other


def test_a_job_that_runs_is_not_deleted(tmp_path: Path) -> None:
    with served(tmp_path, allowed=0) as server:
        name = submitted(server)
        done = jobs(server, "delete", name, "--json")
        assert (done.code, done.error["type"]) == (9, "StateError")


def test_a_job_that_is_cancelled_while_it_is_watched_ends_the_watching(tmp_path: Path) -> None:
    with served(tmp_path, allowed=0) as server:
        name = submitted(server)
        watching = start("jobs", "watch", name, "--server", server.address, "--json")
        wait_for(watching, [("state", "running")])
        assert jobs(server, "cancel", name).code == 0
        out, _ = watching.communicate(timeout=60)
        assert watching.returncode == 9
        assert '"JobError"' in out


@pytest.mark.skipif(
    signal.getsignal(signal.SIGINT) == signal.SIG_IGN, reason="Ctrl-C is ignored, as in the background of a shell"
)
def test_ctrl_c_ends_the_watching_and_not_the_job(tmp_path: Path) -> None:
    with served(tmp_path, allowed=0) as server:
        name = submitted(server)
        watching = start("jobs", "watch", name, "--server", server.address, "--json")
        wait_for(watching, [("state", "running")])
        watching.send_signal(signal.SIGINT)
        _, err = watching.communicate(timeout=60)
        assert watching.returncode == 130, err
        with Client(server.address) as client:
            assert not client.job(name).cancel_requested


def test_a_server_that_is_not_there_is_given_up_on(server: Served) -> None:
    done = jobs(server, "list", "--server", "127.0.0.1:1", "--timeout", "1", "--json")
    assert (done.code, done.error["type"]) == (9, "UnreachableError")


def test_no_option_takes_a_token(server: Served) -> None:
    shown = jobs(server, "list", "--help").out
    assert "--token-file" in shown
    assert "--token " not in shown
