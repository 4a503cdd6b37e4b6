"""Fetching a distilled set, whole or not at all."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from pathlib import Path

import pytest
from filelock import FileLock

from limbeck.data.distilled import verify_distilled
from limbeck.errors import OutputError
from limbeck_server.client import AsyncClient, Client, Connection, Job, ServerError
from limbeck_server.rpc import sets_pb2_grpc
from limbeck_server.services.sets import DistilledSets
from limbeck_server.store.base import Store
from limbeck_server.store.records import SetRecord
from support.cli import files_of
from support.flaky import flaky
from support.served import Served
from support.serving import ID, Backing, finish_next_unit, make_job, prepare, run, serving


def published(server: Served, job: Job) -> dict[str, bytes]:
    """The files as the server's worker wrote them."""
    return files_of(server.folder / "sets" / job.name.partition("/")[2])


def test_the_files_are_those_that_the_worker_wrote(server: Served, client: Client, done: Job, tmp_path: Path) -> None:
    out = client.download(done, tmp_path / "out")
    assert files_of(out) == published(server, done)
    verify_distilled(out)


def test_nothing_else_is_left(client: Client, done: Job, tmp_path: Path) -> None:
    client.download(done, tmp_path / "new" / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["out"]


def test_a_connection_that_breaks_changes_no_byte(server: Served, done: Job, tmp_path: Path) -> None:
    with flaky(server.port, down=[9_000, 300_000, 1_000, 600_000, 50_000]) as way, Client(way.address) as broken:
        broken.download(done, tmp_path / "out")
        assert way.broken >= 3
    assert files_of(tmp_path / "out") == published(server, done)


def _download(address: str, distilled_set: str, out: Path) -> None:
    with Client(address) as client:
        client.download(distilled_set, out, on_progress=lambda _stage, done, _total: _kill_after(done, 300_000))


def _kill_after(done: int, limit: int) -> None:
    if done > limit:
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_process_is_continued_by_the_next(server: Served, client: Client, done: Job, tmp_path: Path) -> None:
    out = tmp_path / "out"
    killed = multiprocessing.get_context("spawn").Process(
        target=_download, args=(server.address, done.distilled_set, out)
    )
    killed.start()
    killed.join()
    assert killed.exitcode == -signal.SIGKILL
    steps: list[int] = []
    client.download(done, out, on_progress=lambda _stage, done, _total: steps.append(done))
    assert files_of(out) == published(server, done)
    part = 2**18
    assert steps[0] >= part


def test_an_existing_folder_is_never_written_over(client: Client, done: Job, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="never writes over"):
        client.download(done, tmp_path)


def test_what_was_left_of_another_set_is_not_taken(server: Served, client: Client, done: Job, tmp_path: Path) -> None:
    other = client.wait(client.submit("random", server.dataset, ipc=1))
    staging = tmp_path / ".out.download"
    staging.mkdir()
    (staging / "source").write_text(other.distilled_set or "")
    (staging / "set.tar.part").write_bytes(b"bytes of another set")
    client.download(done, tmp_path / "out")
    assert files_of(tmp_path / "out") == published(server, done)


def test_damaged_bytes_are_noticed_and_fetched_again_by_the_next_call(
    server: Served, client: Client, done: Job, tmp_path: Path
) -> None:
    staging = tmp_path / ".out.download"
    staging.mkdir()
    (staging / "source").write_text(done.distilled_set or "")
    (staging / "set.tar.part").write_bytes(b"not what the server sent")
    with pytest.raises(ServerError, match="its digest is"):
        client.download(done, tmp_path / "out")
    client.download(done, tmp_path / "out")
    assert files_of(tmp_path / "out") == published(server, done)


def test_two_processes_do_not_write_one_folder(client: Client, done: Job, tmp_path: Path) -> None:
    staging = tmp_path / ".out.download"
    staging.mkdir()
    with FileLock(staging / "lock"), pytest.raises(OutputError, match="another process fetches"):
        client.download(done, tmp_path / "out")


def test_sets_are_listed_and_deleted(server: Served, client: Client) -> None:
    job = client.wait(client.submit("random", server.dataset))
    made = next(found for found in client.distilled_sets() if found.job == job.name)
    assert (made.name, made.num_files) == (client.set_of(job), 7)
    assert client.distilled_set(made) == made
    client.delete(made)
    assert made.name not in {found.name for found in client.distilled_sets()}


def test_the_async_client_fetches_several_at_once(server: Served, done: Job, tmp_path: Path) -> None:
    async def fetch() -> None:
        async with AsyncClient(Connection(address=server.address)) as client:
            await asyncio.gather(*(client.download(done, tmp_path / str(i)) for i in range(3)))

    asyncio.run(fetch())
    assert files_of(tmp_path / "0") == files_of(tmp_path / "1") == files_of(tmp_path / "2")


def _publish(store: Store, backing: Backing, path: str) -> None:
    """Publish a set that a server of no good will might have."""
    job = make_job(store)
    prepare(store, 1, 1)
    finish_next_unit(store, backing.blobs, ipc=1)
    lease = store.lease("worker", max_images=1)
    assert lease is not None
    record = SetRecord(
        id=ID, job=job.id, owner="", path=str(backing.folder), files={path: ("0" * 64, 4)}, created_at=1.0
    )
    store.published(lease.token, record, {})


@pytest.mark.parametrize("path", ["../evil", "/evil", "train/../../evil"])
def test_a_file_that_would_lie_outside_is_refused(path: str, tmp_path: Path) -> None:
    ports: list[int] = []

    def register(backing: Backing) -> None:
        service = DistilledSets(backing.store, backing.blobs)
        sets_pb2_grpc.add_DistilledSetServiceServicer_to_server(service, backing.server)
        ports.append(backing.server.add_insecure_port("127.0.0.1:0"))

    async def test() -> None:
        async with serving(tmp_path, register) as backing, AsyncClient(f"127.0.0.1:{ports[0]}") as client:
            await backing.do(lambda store: _publish(store, backing, path))
            with pytest.raises(ServerError, match="would not lie in the set's folder"):
                await client.download(f"distilledSets/{ID}", tmp_path / "below" / "out")

    run(test())
    assert not (tmp_path / "evil").exists()
