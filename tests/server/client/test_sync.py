"""The client against a server in another process."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from limbeck import __version__
from limbeck.errors import ConfigError, LimbeckError
from limbeck_server.client import Client, Job, JobError, MissingError, RequestError, StateError, UnreachableError
from limbeck_server.store.records import JobState
from support.flaky import flaky
from support.served import NAMES, Served, served


def test_a_job_comes_back_as_it_was_asked(client: Client, server: Served) -> None:
    job = client.submit(
        "d4m", server.dataset, ipc=2, seed=7, settings={"num_steps": 5}, bucket=4, reading={"class_names": ["a", "b"]}
    )
    asked = {"method": "d4m", "ipc": 2, "seed": 7, "settings": {"num_steps": 5}, "bucket": 4, "pack": "mini"}
    assert asked.items() <= job.spec.items()
    assert job.spec["reading"] == {"class_names": ["a", "b"]}
    assert client.job(job.name).spec == job.spec


def test_an_evaluation_comes_back_as_it_was_asked(client: Client, server: Served, done: Job) -> None:
    assert done.distilled_set is not None
    job = client.submit_evaluation([done.distilled_set], server.dataset, protocol="hard", seeds=2, baselines=["random"])
    asked = {"distilled_sets": [done.distilled_set], "test_dataset": server.dataset, "protocol": "hard", "seeds": 2}
    assert job.kind == "evaluate"
    assert asked.items() <= job.spec.items()
    assert job.spec["baselines"] == ["random"]


def test_tuples_and_lists_are_the_same(client: Client, server: Served) -> None:
    backends: Any = (
        {"role": "decoder", "backend": "onnxruntime", "settings": {"providers": ("CPUExecutionProvider",)}},
    )
    spec = client.submit("random", server.dataset, role_backends=backends).spec
    assert spec["role_backends"][0]["settings"] == {"providers": ["CPUExecutionProvider"]}


def test_an_option_that_there_is_not_is_refused_here(client: Client, server: Served) -> None:
    wrong: Any = {"images_per_class": 3}
    with pytest.raises(ConfigError, match="images_per_class"):
        client.submit("random", server.dataset, **wrong)


def test_a_repeated_request_id_gives_the_first_job(client: Client, server: Served) -> None:
    first, second = (client.submit("random", server.dataset, request_id="mine") for _ in range(2))
    assert first.name == second.name


def test_a_create_whose_answer_was_lost_makes_one_job(server: Served, client: Client) -> None:
    before = {job.name for job in client.jobs()}
    with flaky(server.port, down=[250, 250]) as way, Client(way.address) as broken:
        made = broken.submit("random", server.dataset)
        assert way.broken == 2
    assert {job.name for job in client.jobs()} - before == {made.name}


def test_a_setting_that_there_is_not_is_refused_by_name(client: Client, server: Served) -> None:
    with pytest.raises(RequestError, match="num_stepz") as refused:
        client.submit("d4m", server.dataset, settings={"num_stepz": 5})
    assert [one.field for one in refused.value.violations] == ["distill.settings.num_stepz"]
    assert refused.value.exit_code == 2


def test_a_job_that_there_is_not_is_missing(client: Client) -> None:
    with pytest.raises(MissingError, match="there is no job"):
        client.job("jobs/" + "0" * 32)


def test_jobs_are_listed_by_state(client: Client, done: Job) -> None:
    assert done.name in [job.name for job in client.jobs([JobState.SUCCEEDED])]
    assert done.name not in [job.name for job in client.jobs(["failed"])]


def test_events_until_now_are_those_that_watching_gives(client: Client, done: Job) -> None:
    assert list(client.events(done)) == list(client.watch(done))


def test_watching_goes_on_after_an_event(client: Client, done: Job) -> None:
    assert [event.sequence for event in client.watch(done, after=5)] == list(range(6, done.sequence + 1))


def test_every_event_comes_once_over_a_connection_that_breaks(server: Served, done: Job) -> None:
    with flaky(server.port, down=[150, 200, 250, 300, 400]) as way, Client(way.address) as broken:
        events = list(broken.watch(done))
        assert way.broken >= 3
    assert [event.sequence for event in events] == list(range(1, done.sequence + 1))


def test_every_image_comes_once_over_a_connection_that_breaks(server: Served, done: Job) -> None:
    with flaky(server.port, down=[9_000, 200_000, 500, 100_000, 30_000]) as way, Client(way.address) as broken:
        images = list(broken.images(done))
        assert way.broken >= 3
    assert [image.number for image in images] == list(range(1, 61))
    assert {(image.label, image.position) for image in images} == {(x, y) for x in range(3) for y in range(20)}


def test_a_server_that_is_killed_and_started_again_is_waited_for(tmp_path: Path) -> None:
    with served(tmp_path, allowed=1) as first:
        client = Client(first.address)
        job = client.submit("random", first.dataset, ipc=2)
        images, events = client.images(job), client.watch(job)
        numbers = [next(images).number, next(images).number]
        sequences = [next(events).sequence]
    with served(tmp_path, port=first.port), client:
        numbers += [image.number for image in images]
        sequences += [event.sequence for event in events]
    assert (numbers, sequences) == ([1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6, 7, 8])


def test_images_of_a_set_come_by_label_and_position(client: Client, done: Job) -> None:
    assert done.distilled_set is not None
    images = list(client.images(done.distilled_set, after=50))
    assert [(image.label, image.position) for image in images] == [(2, position) for position in range(10, 20)]
    assert images[0].class_name == NAMES[2]
    assert images[0].open().size == (64, 64)


def test_a_stream_that_is_left_ends(client: Client, done: Job) -> None:
    assert next(iter(client.images(done))).number == 1
    assert client.job(done).name == done.name


def test_waiting_for_a_job_that_fails_says_why(tmp_path: Path) -> None:
    with served(tmp_path, allowed=-1) as server, Client(server.address) as client:
        job = client.submit("random", server.dataset)
        with pytest.raises(JobError, match="the decoder gave no numbers") as failed:
            client.wait(job)
        assert failed.value.reason == "ENGINE_ERROR"
        with pytest.raises(StateError, match="the decoder gave no numbers"):
            list(client.images(job))


def test_a_cancelled_job_has_no_set(tmp_path: Path) -> None:
    with served(tmp_path, allowed=0) as server, Client(server.address) as client:
        job = client.submit("random", server.dataset)
        client.cancel(job)
        with pytest.raises(JobError, match="cancelled"):
            client.wait(job)
        with pytest.raises(JobError, match="cancelled"):
            client.download(job, tmp_path / "out")


def test_a_deleted_job_is_gone(client: Client, server: Served) -> None:
    job = client.wait(client.submit("random", server.dataset))
    client.delete(job)
    with pytest.raises(MissingError):
        client.job(job)


def test_what_cannot_be_deleted_is_refused(client: Client) -> None:
    with pytest.raises(ConfigError, match="'packs/mini' cannot be deleted"):
        client.delete("packs/mini")


def test_a_server_says_what_it_is(client: Client) -> None:
    info = client.server_info()
    assert info.packs == ("mini",)
    assert "num_steps" in next(method for method in info.methods if method.name == "d4m").settings_schema["properties"]
    assert [pack.name for pack in client.packs()] == ["mini"]
    assert "decoder" in [engine.role for engine in client.engines("mini")]


def test_a_client_is_pickled_as_its_settings(client: Client, done: Job) -> None:
    with pickle.loads(pickle.dumps(client)) as copy:
        assert copy.connection == client.connection
        assert copy.job(done).name == done.name


def test_a_closed_client_connects_again(server: Served, done: Job) -> None:
    client = Client(server.address)
    for _ in range(2):
        assert client.job(done).name == done.name
        client.close()


def test_threads_share_a_client(client: Client, done: Job) -> None:
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(client.job(done).name)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [done.name] * 8


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_process_forked_beside_an_open_client_is_told_so(client: Client, done: Job) -> None:
    assert client.job(done).name == done.name
    assert "gRPC does not survive" in _in_fork(lambda: client.job(done).name)
    assert client.job(done).name == done.name


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_process_forked_after_the_client_was_closed_connects_anew(server: Served) -> None:
    """In a program of its own: a server or a client of another test in this process would be open while it forks."""
    code = f"""
import os
from limbeck.client import Client
client = Client({server.address!r})
client.server_info()
client.close()
child = os.fork()
if child == 0:
    print(client.server_info().version, flush=True)
    os._exit(0)
os.waitpid(child, 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, __version__), done.stderr


def _in_fork(work: Callable[[], str]) -> str:
    """What comes of it in a forked process, or its error."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, work().encode())
        except LimbeckError as error:
            os.write(writer, str(error).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as told:
        text = told.read().decode()
    os.waitpid(child, 0)
    return text


def test_a_program_that_does_not_close_its_client_ends_all_the_same(server: Served) -> None:
    code = f"from limbeck.client import Client; print(Client({server.address!r}).server_info().version)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, __version__, "")


def test_a_server_that_is_not_there_is_given_up_on() -> None:
    with Client("127.0.0.1:1", timeout_seconds=0.5) as client, pytest.raises(UnreachableError):
        client.server_info()
