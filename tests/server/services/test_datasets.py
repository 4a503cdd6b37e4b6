"""The dataset service through a real channel, over a real ledger and real processes."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

grpc = pytest.importorskip("grpc", reason="the server extra is not installed")

from limbeck_server.datasets.limits import DatasetLimits  # noqa: E402
from limbeck_server.rpc import datasets_pb2  # noqa: E402
from limbeck_server.store.records import DatasetState  # noqa: E402
from limbeck_server.trust.identity import Identity, Quotas, Scope, including  # noqa: E402
from support.serving import ID, fields_of, refused, run  # noqa: E402
from support.uploads import (  # noqa: E402
    Desk,
    chunk,
    chunks_of,
    dataset_desk,
    huge_picture,
    pictures,
    tarred,
    write_files,
    zipped,
)

ANN, BEN = (Identity(name, including(Scope.SUBMIT)) for name in ("ann", "ben"))
READY, FAILED = datasets_pb2.DATASET_STATE_READY, datasets_pb2.DATASET_STATE_FAILED


def at_desk(folder: Path, test: Callable[[Desk], Awaitable[None]], **settings: object) -> None:
    async def whole() -> None:
        async with dataset_desk(folder / "server", **settings) as desk:  # type: ignore[arg-type]
            await test(desk)

    run(whole())


# registering


def test_a_registered_folder_is_looked_through_and_becomes_ready(tmp_path: Path) -> None:
    photos = write_files(tmp_path / "data" / "photos", pictures("cat", "dog", per_class=3))

    async def test(desk: Desk) -> None:
        begun = await desk.register(photos)
        dataset = await desk.settled(begun.name)
        assert (dataset.state, dataset.num_images, dataset.num_classes) == (READY, 6, 2)
        assert (dataset.path, dataset.display_name, dataset.uploaded) == (str(photos), "photos", False)
        assert dataset.nbytes == sum(file.stat().st_size for file in photos.rglob("*.png"))

    at_desk(tmp_path, test, roots=[tmp_path / "data"])


@pytest.mark.parametrize("path", ["{root}/../secret", "{root}/link", "{secret}", "photos", "{root}/fifo", "{root}/no"])
def test_a_path_that_leads_out_of_the_allowed_folders_is_refused(path: str, tmp_path: Path) -> None:
    root = write_files(tmp_path / "data", pictures("cat"))
    secret = write_files(tmp_path / "secret", pictures("cat"))
    (root / "link").symlink_to(secret)
    os.mkfifo(root / "fifo")

    async def test(desk: Desk) -> None:
        error = await refused(desk.register(path.format(root=root, secret=secret)))
        assert error.refusal.code is grpc.StatusCode.INVALID_ARGUMENT
        assert fields_of(error) == ["path"]

    at_desk(tmp_path, test, roots=[root])


def test_a_link_inside_a_registered_folder_that_leads_out_fails_it(tmp_path: Path) -> None:
    root = write_files(tmp_path / "data", pictures("photos/cat"))
    secret = write_files(tmp_path / "secret", pictures("key"))
    (root / "photos" / "cat" / "stolen.png").symlink_to(secret / "key" / "0.png")

    async def test(desk: Desk) -> None:
        dataset = await desk.settled((await desk.register(root / "photos")).name)
        assert dataset.state == FAILED
        assert "leads out" in dataset.failure.message

    at_desk(tmp_path, test, roots=[root])


def test_registering_again_with_the_same_request_id_gives_the_first_dataset(tmp_path: Path) -> None:
    photos = write_files(tmp_path / "photos", pictures("cat"))

    async def test(desk: Desk) -> None:
        first = await desk.register(photos, "once")
        await desk.settled(first.name)
        assert (await desk.register(photos, "once")).name == first.name

    at_desk(tmp_path, test, roots=[tmp_path])


def test_deleting_a_registered_folder_leaves_its_files(tmp_path: Path) -> None:
    photos = write_files(tmp_path / "photos", pictures("cat"))

    async def test(desk: Desk) -> None:
        dataset = await desk.settled((await desk.register(photos)).name)
        await desk.delete(dataset.name)
        assert (await refused(desk.get(dataset.name))).refusal.code is grpc.StatusCode.NOT_FOUND
        assert len(list(photos.rglob("*.png"))) == 2

    at_desk(tmp_path, test, roots=[tmp_path])


def test_every_image_that_cannot_be_read_is_listed_and_the_rest_is_ready(tmp_path: Path) -> None:
    files = {**pictures("cat", "dog"), "cat/torn.png": pictures("x")["x/0.png"][:40], "dog/text.jpg": b"not a picture"}

    async def test(desk: Desk) -> None:
        dataset = await desk.settled((await desk.register(write_files(tmp_path / "photos", files))).name)
        assert (dataset.state, dataset.num_images) == (READY, 4)
        assert dataset.failure.reason == "UNREADABLE_IMAGES"
        assert all(name in dataset.failure.message for name in ("2 image(s)", "cat/torn.png", "dog/text.jpg"))

    at_desk(tmp_path, test, roots=[tmp_path])


def test_a_class_without_an_image_fails_the_dataset(tmp_path: Path) -> None:
    photos = write_files(tmp_path / "photos", pictures("cat"))
    (photos / "dog").mkdir()

    async def test(desk: Desk) -> None:
        dataset = await desk.settled((await desk.register(photos)).name)
        assert (dataset.state, dataset.failure.reason) == (FAILED, "DATA_ERROR")
        assert "has no image" in dataset.failure.message

    at_desk(tmp_path, test, roots=[tmp_path])


def test_an_image_of_a_billion_pixels_is_listed_and_never_decoded(tmp_path: Path) -> None:
    files = {**pictures("cat"), "cat/huge.png": huge_picture(40_000, 25_000)}

    async def test(desk: Desk) -> None:
        dataset = await desk.settled((await desk.register(write_files(tmp_path / "photos", files))).name)
        assert (dataset.state, dataset.num_images) == (READY, 2)
        assert "cat/huge.png: " in dataset.failure.message
        assert "limit" in dataset.failure.message

    at_desk(tmp_path, test, roots=[tmp_path], memory_nbytes=2**30)


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "‮gnp.tac", "a\nb", "-rf", "'; DROP TABLE dataset; --"])
def test_class_folders_with_hostile_names_are_names_like_others(name: str, tmp_path: Path) -> None:
    async def test(desk: Desk) -> None:
        photos = write_files(tmp_path / "photos", pictures("cat", name))
        dataset = await desk.settled((await desk.register(photos)).name)
        assert (dataset.state, dataset.num_classes) == (READY, 2)

    at_desk(tmp_path, test, roots=[tmp_path])


def test_a_class_folder_whose_name_is_not_utf8_fails_with_the_name_written_out(tmp_path: Path) -> None:
    photos = write_files(tmp_path / "photos", pictures("cat", os.fsdecode(b"d\xffg")))

    async def test(desk: Desk) -> None:
        dataset = await desk.settled((await desk.register(photos)).name)
        assert dataset.state == FAILED
        assert "d\\xffg" in dataset.failure.message

    at_desk(tmp_path, test, roots=[tmp_path])


# uploading


@pytest.mark.parametrize("wrapping", ["", "photos/", "a/photos/"])
@pytest.mark.parametrize(("pack", "ending"), [(zipped, "zip"), (tarred, "tar.gz")])
def test_an_uploaded_archive_is_unpacked_and_becomes_ready(
    pack: Callable[..., bytes], ending: str, wrapping: str, tmp_path: Path
) -> None:
    content = pack({f"{wrapping}{name}": file for name, file in pictures("cat", "dog").items()})

    async def test(desk: Desk) -> None:
        dataset = await desk.upload(content, f"my photos.{ending}")
        assert (dataset.state, dataset.num_images, dataset.num_classes) == (READY, 4, 2)
        assert (dataset.path, dataset.uploaded) == ("", True)
        place = await desk.path_of(dataset.name)
        assert (place / "cat" / "0.png").read_bytes() == pictures("cat", "dog")["cat/0.png"]
        assert desk.files() == [desk.folders.home(dataset.name.split("/")[1])]

    at_desk(tmp_path, test)


def test_an_uploaded_npz_file_is_kept_as_it_is(tmp_path: Path) -> None:
    import numpy as np

    np.savez(tmp_path / "set.npz", images=np.zeros((4, 8, 8, 3), np.uint8), labels=np.array([0, 1, 0, 1]))
    content = (tmp_path / "set.npz").read_bytes()

    async def test(desk: Desk) -> None:
        dataset = await desk.upload(content, "digits.npz")
        assert (dataset.state, dataset.num_images) == (READY, 4)
        place = await desk.path_of(dataset.name)
        assert (place.name, place.read_bytes()) == ("digits.npz", content)

    at_desk(tmp_path, test)


def test_normalized_pixels_are_left_to_the_job_that_says_how(tmp_path: Path) -> None:
    import numpy as np

    images = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype(np.float32)
    np.savez(tmp_path / "set.npz", images=images, labels=np.array([0, 1, 0, 1]))

    async def test(desk: Desk) -> None:
        dataset = await desk.upload((tmp_path / "set.npz").read_bytes(), "normal.npz")
        assert (dataset.state, dataset.num_images, dataset.failure.message) == (READY, 4, "")

    at_desk(tmp_path, test)


def test_an_upload_goes_on_where_a_dropped_stream_ended(tmp_path: Path) -> None:
    content = zipped(pictures("cat", side=64))

    async def test(desk: Desk) -> None:
        begun = await desk.start(content)
        stream = await desk.stream(begun.name, chunks_of(content)[:2])
        await desk.written(begun.name, 8192)
        stream.cancel()
        await desk.received(begun.name, 8192)
        await desk.send_when_free(begun.name, chunks_of(content, start=8192))
        assert (await desk.settled(begun.name)).state == READY

    at_desk(tmp_path, test)


def test_a_stream_that_ends_early_says_how_much_is_safe(tmp_path: Path) -> None:
    content = zipped(pictures("cat", side=64))

    async def test(desk: Desk) -> None:
        begun = await desk.start(content)
        dataset = await desk.send(begun.name, chunks_of(content)[:1])
        assert (dataset.state, dataset.received_nbytes) == (datasets_pb2.DATASET_STATE_UPLOADING, 4096)

    at_desk(tmp_path, test)


def test_starting_again_with_the_same_request_id_goes_on_with_the_first_upload(tmp_path: Path) -> None:
    content = zipped(pictures("cat", side=64))

    async def test(desk: Desk) -> None:
        begun = await desk.start(content, request_id="once")
        await desk.send(begun.name, chunks_of(content)[:1])
        again = await desk.start(content, request_id="once")
        assert (again.name, again.received_nbytes) == (begun.name, 4096)

    at_desk(tmp_path, test)


def test_the_same_request_id_for_another_file_is_refused(tmp_path: Path) -> None:
    async def test(desk: Desk) -> None:
        await desk.start(b"one", request_id="once")
        error = await refused(desk.start(b"two", request_id="once"))
        assert error.refusal.code is grpc.StatusCode.ALREADY_EXISTS

    at_desk(tmp_path, test)


@pytest.mark.parametrize("offset", [0, 1, 4095, 8192])
def test_a_chunk_at_another_offset_is_refused_with_where_to_go_on(offset: int, tmp_path: Path) -> None:
    content = zipped(pictures("cat", side=64))

    async def test(desk: Desk) -> None:
        begun = await desk.start(content)
        await desk.send(begun.name, chunks_of(content)[:1])
        error = await refused(desk.send(begun.name, [chunk(content[offset : offset + 100], offset)]))
        assert (error.refusal.code, error.refusal.reason) == (grpc.StatusCode.OUT_OF_RANGE, "WRONG_OFFSET")
        assert error.refusal.metadata["received_nbytes"] == "4096"

    at_desk(tmp_path, test)


def test_a_damaged_chunk_is_refused_and_nothing_of_it_kept(tmp_path: Path) -> None:
    content = zipped(pictures("cat", side=64))

    async def test(desk: Desk) -> None:
        begun = await desk.start(content)
        good, bad = chunks_of(content)[:2]
        bad.data = b"\0" * len(bad.data)
        error = await refused(desk.send(begun.name, [good, bad]))
        assert (error.refusal.code, error.refusal.reason) == (grpc.StatusCode.DATA_LOSS, "CHECKSUM_MISMATCH")
        assert (await desk.get(begun.name)).received_nbytes == 4096
        await desk.send(begun.name, chunks_of(content, start=4096))
        assert (await desk.settled(begun.name)).state == READY

    at_desk(tmp_path, test)


def test_a_file_with_another_digest_fails_and_is_removed(tmp_path: Path) -> None:
    content = zipped(pictures("cat"))

    async def test(desk: Desk) -> None:
        begun = await desk.start(content, sha256="0" * 64)
        error = await refused(desk.send(begun.name, chunks_of(content)))
        assert error.refusal.reason == "DIGEST_MISMATCH"
        dataset = await desk.get(begun.name)
        assert (dataset.state, dataset.failure.reason) == (FAILED, "DIGEST_MISMATCH")
        assert desk.files() == []

    at_desk(tmp_path, test)


def test_more_than_was_announced_is_refused(tmp_path: Path) -> None:
    content = zipped(pictures("cat", side=64))

    async def test(desk: Desk) -> None:
        begun = await desk.start(content, nbytes=5000)
        error = await refused(desk.send(begun.name, chunks_of(content)))
        assert (error.refusal.code, error.refusal.reason) == (grpc.StatusCode.OUT_OF_RANGE, "UPLOAD_TOO_LONG")

    at_desk(tmp_path, test)


def test_a_second_stream_on_an_upload_is_refused_while_the_first_is_open(tmp_path: Path) -> None:
    content = zipped(pictures("cat", side=64))

    async def test(desk: Desk) -> None:
        begun = await desk.start(content)
        first = await desk.stream(begun.name, chunks_of(content)[:2])
        await desk.received(begun.name, 4096)
        error = await refused(desk.send(begun.name, chunks_of(content)))
        assert (error.refusal.code, error.refusal.reason) == (grpc.StatusCode.ABORTED, "UPLOAD_BUSY")
        assert error.refusal.retry_seconds is not None
        first.cancel()

    at_desk(tmp_path, test, limits=DatasetLimits(reserve_nbytes=0, sync_nbytes=1))


def test_a_stream_that_brings_nothing_is_ended(tmp_path: Path) -> None:
    content = zipped(pictures("cat", side=64))

    async def test(desk: Desk) -> None:
        begun = await desk.start(content)
        error = await refused(await desk.stream(begun.name, chunks_of(content)[:1]))
        assert (error.refusal.code, error.refusal.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "UPLOAD_IDLE")
        assert (await desk.get(begun.name)).received_nbytes == 4096

    at_desk(tmp_path, test, limits=DatasetLimits(reserve_nbytes=0, idle_seconds=0.3))


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"nbytes": 0}, "nbytes"),
        ({"nbytes": -1}, "nbytes"),
        ({"nbytes": 2**20 + 1}, "nbytes"),
        ({"sha256": "../../etc/passwd"}, "sha256"),
        ({"file_name": "photos.rar"}, "file_name"),
        ({"file_name": ""}, "file_name"),
        ({"display_name": "a\nb"}, "display_name"),
        ({"display_name": "a" * 201}, "display_name"),
        ({"request_id": "a" * 129}, "request_id"),
    ],
)
def test_a_wrong_field_of_an_upload_is_named(asked: dict[str, object], field: str, tmp_path: Path) -> None:
    right: dict[str, object] = {"file_name": "a.zip", "nbytes": 10, "sha256": "0" * 64}

    async def test(desk: Desk) -> None:
        error = await refused(desk.stub.StartUpload(datasets_pb2.StartUploadRequest(**{**right, **asked})))
        assert error.refusal.code is grpc.StatusCode.INVALID_ARGUMENT
        assert fields_of(error) == [field]

    at_desk(tmp_path, test, limits=DatasetLimits(reserve_nbytes=0, upload_nbytes=2**20))


def test_a_chunk_over_the_limit_is_refused(tmp_path: Path) -> None:
    async def test(desk: Desk) -> None:
        begun = await desk.start(b"\0" * 2000)
        error = await refused(desk.send(begun.name, [chunk(b"\0" * 1001, 0)]))
        assert fields_of(error) == ["chunk.data"]

    at_desk(tmp_path, test, limits=DatasetLimits(reserve_nbytes=0, chunk_nbytes=1000))


def test_an_upload_that_the_disk_has_no_room_for_is_refused_at_its_start(tmp_path: Path) -> None:
    async def test(desk: Desk) -> None:
        error = await refused(desk.start(b"", nbytes=2**50, sha256="0" * 64))
        assert (error.refusal.code, error.refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "DISK_FULL")
        assert await desk.backing.do(lambda store: store.datasets()[0]) == []

    at_desk(tmp_path, test, limits=DatasetLimits(upload_nbytes=2**60))


def test_an_upload_over_the_callers_quota_is_refused(tmp_path: Path) -> None:
    async def test(desk: Desk) -> None:
        desk.backing.caller.identity = Identity("ann", ANN.scopes, Quotas(max_dataset_nbytes=1000))
        await desk.start(b"\0" * 600)
        error = await refused(desk.start(b"\0" * 600))
        assert (error.refusal.code, error.refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED")

    at_desk(tmp_path, test)


@pytest.mark.parametrize(
    ("content", "file_name"),
    [
        (zipped({"../../evil/0.png": b"x", **pictures("cat")}), "slip.zip"),
        (zipped({"/evil/0.png": b"x", **pictures("cat")}), "absolute.zip"),
        (tarred(pictures("cat/out"), links={"cat": "../../.."}), "link.tar.gz"),
        (tarred({**pictures("cat"), "../evil.png": b"x"}), "slip.tar.gz"),
        (zipped({"cat/0.png": b"\0" * 30_000_000}), "bomb.zip"),
        (tarred({"cat/0.png": b"\0" * 30_000_000}), "bomb.tgz"),
        (b"PK\x03\x04 and then nothing", "torn.zip"),
        (b"\0" * 100, "nothing.tar"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_harmful_archive_fails_and_leaves_nothing(content: bytes, file_name: str, tmp_path: Path) -> None:
    async def test(desk: Desk) -> None:
        dataset = await desk.upload(content, file_name)
        assert (dataset.state, dataset.failure.reason) == (FAILED, "DATA_ERROR")
        assert str(tmp_path) not in dataset.failure.message
        await desk.emptied()
        assert list(tmp_path.rglob("*evil*")) == []

    at_desk(tmp_path, test)


@pytest.mark.parametrize("file_name", ["../../evil.zip", "/evil.zip", "a\\..\\evil.zip", ".zip", "e\0vil.zip"])
def test_a_hostile_file_name_leads_nowhere(file_name: str, tmp_path: Path) -> None:
    async def test(desk: Desk) -> None:
        dataset = await desk.upload(zipped(pictures("cat")), file_name)
        place = await desk.path_of(dataset.name)
        assert place.is_relative_to(desk.folders.home(dataset.name.split("/")[1]))

    at_desk(tmp_path, test)


def test_a_stream_without_a_beginning_is_refused(tmp_path: Path) -> None:
    async def test(desk: Desk) -> None:
        only_chunk = datasets_pb2.UploadDatasetRequest(chunk=chunk(b"x", 0))
        assert fields_of(await refused(desk.stub.UploadDataset(iter([only_chunk])))) == ["start"]

    at_desk(tmp_path, test)


def test_a_registered_dataset_takes_no_bytes(tmp_path: Path) -> None:
    photos = write_files(tmp_path / "photos", pictures("cat"))

    async def test(desk: Desk) -> None:
        dataset = await desk.settled((await desk.register(photos)).name)
        error = await refused(desk.send(dataset.name, [chunk(b"x", 0)]))
        assert (error.refusal.code, error.refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NOT_UPLOADING")

    at_desk(tmp_path, test, roots=[tmp_path])


# whose they are, and their end


def test_datasets_of_others_look_as_if_they_were_not_there(tmp_path: Path) -> None:
    content = zipped(pictures("cat"))

    async def test(desk: Desk) -> None:
        desk.backing.caller.identity = ANN
        mine = await desk.start(content)
        desk.backing.caller.identity = BEN
        for call in (desk.get(mine.name), desk.delete(mine.name), desk.send(mine.name, chunks_of(content))):
            assert (await refused(call)).refusal.code is grpc.StatusCode.NOT_FOUND
        assert not (await desk.stub.ListDatasets(datasets_pb2.ListDatasetsRequest())).datasets

    at_desk(tmp_path, test)


def test_an_admin_sees_everybodys_datasets(tmp_path: Path) -> None:
    async def test(desk: Desk) -> None:
        desk.backing.caller.identity = ANN
        hers = await desk.start(b"x")
        desk.backing.caller.identity = Identity("root", including(Scope.ADMIN))
        assert (await desk.get(hers.name)).owner == "ann"
        listed = await desk.stub.ListDatasets(datasets_pb2.ListDatasetsRequest())
        assert [one.name for one in listed.datasets] == [hers.name]

    at_desk(tmp_path, test)


def test_pages_of_datasets_are_whole_and_newest_first(tmp_path: Path) -> None:
    async def test(desk: Desk) -> None:
        names = [(await desk.start(bytes([number]))).name for number in range(5)]
        found, token = [], ""
        while True:
            page = await desk.stub.ListDatasets(datasets_pb2.ListDatasetsRequest(page_size=2, page_token=token))
            found += [one.name for one in page.datasets]
            if not (token := page.next_page_token):
                break
        assert found == names[::-1]

    at_desk(tmp_path, test)


def test_deleting_an_uploaded_dataset_removes_its_files(tmp_path: Path) -> None:
    async def test(desk: Desk) -> None:
        dataset = await desk.upload(zipped(pictures("cat")))
        await desk.delete(dataset.name)
        assert desk.files() == []

    at_desk(tmp_path, test)


def test_deleting_a_dataset_that_is_being_looked_through_stops_that(tmp_path: Path) -> None:
    content = zipped(pictures("cat", "dog", per_class=200))

    async def test(desk: Desk) -> None:
        begun = await desk.start(content)
        await desk.send(begun.name, chunks_of(content))
        await desk.delete(begun.name)
        assert desk.files() == []

    at_desk(tmp_path, test)


def test_deleting_a_dataset_that_is_being_uploaded_ends_its_stream(tmp_path: Path) -> None:
    content = zipped(pictures("cat", side=64))

    async def test(desk: Desk) -> None:
        begun = await desk.start(content)
        stream = await desk.stream(begun.name, chunks_of(content)[:2])
        await desk.written(begun.name, 8192)
        await desk.delete(begun.name)
        await stream.done_writing()
        assert (await refused(stream)).refusal.code is grpc.StatusCode.NOT_FOUND
        assert desk.files() == []

    at_desk(tmp_path, test)


def test_a_dataset_that_an_unfinished_job_reads_is_not_deleted(tmp_path: Path) -> None:
    async def test(desk: Desk) -> None:
        dataset = await desk.upload(zipped(pictures("cat")))
        spec = {"method": "random", "dataset": dataset.name, "pack": "mini"}
        await desk.backing.do(lambda store: store.create_job(owner="", request_id="", kind="distill", spec=spec))
        error = await refused(desk.delete(dataset.name))
        assert (error.refusal.code, error.refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "IN_USE")
        assert (await desk.path_of(dataset.name)).is_dir()

    at_desk(tmp_path, test)


def test_a_dataset_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    async def test(desk: Desk) -> None:
        error = await refused(desk.get(f"datasets/{ID}"))
        assert error.refusal.code is grpc.StatusCode.NOT_FOUND

    at_desk(tmp_path, test)


def test_what_was_being_looked_through_when_a_server_ended_is_looked_through_again(tmp_path: Path) -> None:
    content = zipped(pictures("cat"))

    async def first(desk: Desk) -> None:
        begun = await desk.start(content, request_id="once")
        await desk.send(begun.name, chunks_of(content))
        await desk.checker.close()

    async def second(desk: Desk) -> None:
        [dataset], _ = await desk.backing.do(lambda store: store.datasets())
        assert dataset.state in (DatasetState.CHECKING, DatasetState.READY)
        await desk.checker.resume()
        assert (await desk.settled(f"datasets/{dataset.id}")).state == READY

    at_desk(tmp_path, first)
    at_desk(tmp_path, second)
