"""The distilled set service, through a real channel: images and files come whole, from wherever one goes on."""

import hashlib
import io
import tarfile
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

grpc = pytest.importorskip("grpc", reason="the server extra is not installed")

from limbeck_server.rpc import sets_pb2  # noqa: E402
from limbeck_server.store.records import SetRecord  # noqa: E402
from limbeck_server.trust.identity import Identity  # noqa: E402
from support.services import a_set, sets  # noqa: E402
from support.serving import (  # noqa: E402
    ID,
    Backing,
    collected,
    fields_of,
    finish_next_unit,
    make_job,
    prepare,
    refused,
    run,
)

BOB = Identity("bob", frozenset({"read"}))


async def downloaded(stub: Any, record: SetRecord, path: str, offset: int = 0) -> list[Any]:
    request = sets_pb2.DownloadArtifactRequest(name=f"distilledSets/{record.id}", path=path, offset=offset)
    return await collected(stub.DownloadArtifact(request))


def bytes_of(messages: list[Any]) -> bytes:
    return b"".join(message.data for message in messages)


def large_file(record: SetRecord, nbytes: int) -> SetRecord:
    """The set with one more file that takes several messages."""
    content = hashlib.shake_128(b"large").digest(nbytes)
    Path(record.path, "large.bin").write_bytes(content)
    return replace(record, files={**record.files, "large.bin": (hashlib.sha256(content).hexdigest(), nbytes)})


async def a_set_with_a_large_file(backing: Backing, nbytes: int = 700_001) -> SetRecord:
    def make(store: Any) -> SetRecord:
        make_job(store)
        prepare(store, 1, 1)
        finish_next_unit(store, backing.blobs, ipc=1)
        lease = store.lease("worker", max_images=1)
        (backing.folder / "set").mkdir()
        record = SetRecord(
            id=ID, job=lease.job.id, owner="", path=str(backing.folder / "set"), files={}, created_at=1.0
        )
        record = large_file(record, nbytes)
        store.published(lease.token, record, {})
        return record

    return await backing.do(make)


def test_a_set_says_its_job_and_its_size(tmp_path: Path) -> None:
    async def test() -> None:
        async with sets(tmp_path) as (stub, backing):
            record = await a_set(backing)
            request = sets_pb2.GetDistilledSetRequest(name=f"distilledSets/{record.id}")
            found = (await stub.GetDistilledSet(request)).distilled_set
            assert (found.job, found.num_files) == (f"jobs/{record.job}", len(record.files))
            assert found.nbytes == sum(path.stat().st_size for path in Path(record.path).rglob("*") if path.is_file())

    run(test())


def test_pages_of_sets_show_each_once(tmp_path: Path) -> None:
    async def test() -> None:
        async with sets(tmp_path) as (stub, backing):
            made = {f"distilledSets/{(await a_set(backing, f'set{n}')).id}" for n in range(3)}
            shown: list[str] = []
            token = ""
            while True:
                page = await stub.ListDistilledSets(sets_pb2.ListDistilledSetsRequest(page_size=1, page_token=token))
                shown += [one.name for one in page.distilled_sets]
                if not (token := page.next_page_token):
                    break
            assert sorted(shown) == sorted(made)

    run(test())


@pytest.mark.parametrize("size", [1, 2, 5, 0])
def test_pages_of_files_are_the_files_on_the_disk(tmp_path: Path, size: int) -> None:
    async def test() -> None:
        async with sets(tmp_path) as (stub, backing):
            record = await a_set(backing)
            found: dict[str, str] = {}
            token = ""
            while True:
                request = sets_pb2.ListArtifactsRequest(
                    parent=f"distilledSets/{record.id}", page_size=size, page_token=token
                )
                page = await stub.ListArtifacts(request)
                found |= {one.path: one.sha256 for one in page.artifacts}
                if not (token := page.next_page_token):
                    break
            folder = Path(record.path)
            assert found == {
                path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
                for path in folder.rglob("*")
                if path.is_file()
            }

    run(test())


@pytest.mark.parametrize("offset", [0, 1, 262_143, 262_144, 262_145, 524_288, 700_000, 700_001])
def test_a_download_from_any_offset_is_the_rest_of_the_file(tmp_path: Path, offset: int) -> None:
    async def test() -> None:
        async with sets(tmp_path) as (stub, backing):
            record = await a_set_with_a_large_file(backing)
            messages = await downloaded(stub, record, "large.bin", offset)
            assert bytes_of(messages) == Path(record.path, "large.bin").read_bytes()[offset:]

    run(test())


def test_every_piece_of_a_download_says_where_it_belongs(tmp_path: Path) -> None:
    async def test() -> None:
        async with sets(tmp_path) as (stub, backing):
            record = await a_set_with_a_large_file(backing)
            offset = 5
            for message in await downloaded(stub, record, "large.bin", offset):
                assert (message.offset, message.crc32) == (offset, zlib.crc32(message.data))
                assert len(message.data) <= 262_144
                offset += len(message.data)

    run(test())


@pytest.mark.parametrize("offset", [0, 700_001])
def test_the_first_message_of_a_download_says_what_the_whole_is(tmp_path: Path, offset: int) -> None:
    async def test() -> None:
        async with sets(tmp_path) as (stub, backing):
            record = await a_set_with_a_large_file(backing)
            first, *others = await downloaded(stub, record, "large.bin", offset)
            content = Path(record.path, "large.bin").read_bytes()
            assert (first.artifact.nbytes, first.artifact.sha256) == (700_001, hashlib.sha256(content).hexdigest())
            assert not any(message.HasField("artifact") for message in others)

    run(test())


def test_an_archive_holds_the_set_file_by_file(tmp_path: Path) -> None:
    async def test() -> None:
        async with sets(tmp_path) as (stub, backing):
            record = await a_set(backing)
            archive = bytes_of(await downloaded(stub, record, ""))
            with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
                opened.extractall(tmp_path / "unpacked", filter="data")
            for path, (digest, _) in record.files.items():
                assert hashlib.sha256((tmp_path / "unpacked" / path).read_bytes()).hexdigest() == digest

    run(test())


def test_an_archive_is_what_its_first_message_says(tmp_path: Path) -> None:
    async def test() -> None:
        async with sets(tmp_path) as (stub, backing):
            messages = await downloaded(stub, await a_set(backing), "")
            archive = bytes_of(messages)
            assert messages[0].artifact.nbytes == len(archive)
            assert messages[0].artifact.sha256 == hashlib.sha256(archive).hexdigest()

    run(test())


def test_an_archive_from_any_offset_is_its_rest(tmp_path: Path) -> None:
    async def test() -> None:
        async with sets(tmp_path) as (stub, backing):
            record = await a_set(backing)
            whole = bytes_of(await downloaded(stub, record, ""))
            for offset in (1, 511, 512, 513, 1024, len(whole) // 2, len(whole) - 1, len(whole)):
                assert bytes_of(await downloaded(stub, record, "", offset)) == whole[offset:]

    run(test())


@pytest.mark.parametrize("path", ["../ledger.sqlite", "/etc/hostname", "train", "manifest.json/", "none.png"])
def test_a_path_that_is_no_file_of_the_set_is_not_found(tmp_path: Path, path: str) -> None:
    async def test() -> None:
        async with sets(tmp_path) as (stub, backing):
            error = await refused(downloaded(stub, await a_set(backing), path))
            assert error.refusal.code is grpc.StatusCode.NOT_FOUND

    run(test())


@pytest.mark.parametrize("offset", [-1, 700_002])
def test_an_offset_outside_the_file_is_refused(tmp_path: Path, offset: int) -> None:
    async def test() -> None:
        async with sets(tmp_path) as (stub, backing):
            record = await a_set_with_a_large_file(backing)
            assert fields_of(await refused(downloaded(stub, record, "large.bin", offset))) == ["offset"]

    run(test())


def test_a_file_that_became_shorter_is_said_to_be_lost(tmp_path: Path) -> None:
    async def test() -> None:
        async with sets(tmp_path) as (stub, backing):
            record = await a_set_with_a_large_file(backing)
            Path(record.path, "large.bin").write_bytes(b"short")
            assert (await refused(downloaded(stub, record, "large.bin"))).refusal.reason == "FILE_LOST"

    run(test())


def test_a_deleted_set_is_gone_from_ledger_and_disk(tmp_path: Path) -> None:
    async def test() -> None:
        async with sets(tmp_path) as (stub, backing):
            record = await a_set(backing)
            name = f"distilledSets/{record.id}"
            await stub.DeleteDistilledSet(sets_pb2.DeleteDistilledSetRequest(name=name))
            error = await refused(stub.GetDistilledSet(sets_pb2.GetDistilledSetRequest(name=name)))
            assert error.refusal.code is grpc.StatusCode.NOT_FOUND
            assert not Path(record.path).exists()

    run(test())


@pytest.mark.parametrize("call", ["GetDistilledSet", "DeleteDistilledSet", "StreamImages", "DownloadArtifact"])
def test_a_set_of_somebody_else_looks_as_if_it_were_not_there(tmp_path: Path, call: str) -> None:
    async def test() -> None:
        async with sets(tmp_path) as (stub, backing):
            record = await a_set(backing)
            backing.caller.identity = BOB
            answer = getattr(stub, call)(getattr(sets_pb2, f"{call}Request")(name=f"distilledSets/{record.id}"))
            error = await refused(answer if call.endswith("Set") else collected(answer))
            assert error.refusal.code is grpc.StatusCode.NOT_FOUND

    run(test())
