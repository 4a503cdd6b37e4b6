"""What handlers raise arrives at clients, of every kind of call, and through both kinds of client."""

import asyncio
from pathlib import Path

import pytest

grpc = pytest.importorskip("grpc", reason="the server extra is not installed")

from limbeck_server.rpc import datasets_pb2, datasets_pb2_grpc, jobs_pb2, jobs_pb2_grpc  # noqa: E402
from limbeck_server.store.errors import NotFoundError  # noqa: E402
from limbeck_server.wire.errors import remote_error  # noqa: E402
from limbeck_server.wire.refusal import Code  # noqa: E402
from support.serving import Backing, collected, refused, run, serving  # noqa: E402


class Raising(jobs_pb2_grpc.JobServiceServicer, datasets_pb2_grpc.DatasetServiceServicer):
    """Raises from a call of each kind; a stream after its first message."""

    async def GetJob(self, request, context):
        raise NotFoundError(f"there is no job {request.name}")

    async def DeleteJob(self, request, context):
        raise ZeroDivisionError

    async def CancelJob(self, request, context):
        await context.abort(grpc.StatusCode.ABORTED, "by itself")

    async def WatchJob(self, request, context):
        yield jobs_pb2.WatchJobResponse()
        raise NotFoundError("it was deleted")

    async def UploadDataset(self, requests, context):
        async for _ in requests:
            raise NotFoundError("no such upload")


def register(backing: Backing) -> None:
    jobs_pb2_grpc.add_JobServiceServicer_to_server(Raising(), backing.server)
    datasets_pb2_grpc.add_DatasetServiceServicer_to_server(Raising(), backing.server)


def test_an_exception_of_a_single_answer_arrives(tmp_path: Path) -> None:
    async def test() -> None:
        async with serving(tmp_path, register) as backing:
            stub = jobs_pb2_grpc.JobServiceStub(backing.channel)
            error = await refused(stub.GetJob(jobs_pb2.GetJobRequest(name="ä")))
            assert (error.refusal.code, error.refusal.reason) == (Code.NOT_FOUND, "NOT_FOUND")
            assert str(error) == "there is no job ä"

    run(test())


def test_where_the_server_keeps_things_is_not_said(tmp_path: Path) -> None:
    async def test() -> None:
        async with serving(tmp_path, register) as backing:
            stub = jobs_pb2_grpc.JobServiceStub(backing.channel)
            name = f"{tmp_path}/datasets/1/train, nor in {tmp_path}"
            error = await refused(stub.GetJob(jobs_pb2.GetJobRequest(name=name)))
            assert str(error) == "there is no job datasets/1/train, nor in the server's folder"

    run(test())


def test_an_exception_of_a_stream_arrives_after_its_messages(tmp_path: Path) -> None:
    async def test() -> None:
        async with serving(tmp_path, register) as backing:
            stream = aiter(jobs_pb2_grpc.JobServiceStub(backing.channel).WatchJob(jobs_pb2.WatchJobRequest()))
            await anext(stream)
            assert (await refused(collected(stream))).refusal.reason == "NOT_FOUND"

    run(test())


def test_an_exception_over_a_clients_stream_arrives(tmp_path: Path) -> None:
    async def test() -> None:
        async with serving(tmp_path, register) as backing:
            stub = datasets_pb2_grpc.DatasetServiceStub(backing.channel)
            error = await refused(stub.UploadDataset(iter([datasets_pb2.UploadDatasetRequest()])))
            assert error.refusal.reason == "NOT_FOUND"

    run(test())


def test_an_exception_that_nobody_meant_is_internal(tmp_path: Path) -> None:
    async def test() -> None:
        async with serving(tmp_path, register) as backing:
            stub = jobs_pb2_grpc.JobServiceStub(backing.channel)
            refusal = (await refused(stub.DeleteJob(jobs_pb2.DeleteJobRequest()))).refusal
            assert (refusal.code, refusal.reason) == (Code.INTERNAL, "INTERNAL")
            assert "ZeroDivision" not in refusal.message

    run(test())


def test_a_status_that_a_handler_chose_itself_stays(tmp_path: Path) -> None:
    async def test() -> None:
        async with serving(tmp_path, register) as backing:
            stub = jobs_pb2_grpc.JobServiceStub(backing.channel)
            refusal = (await refused(stub.CancelJob(jobs_pb2.CancelJobRequest()))).refusal
            assert (refusal.code, refusal.reason, refusal.message) == (Code.ABORTED, "", "by itself")

    run(test())


def test_a_synchronous_client_reads_the_same(tmp_path: Path) -> None:
    def call(port: str) -> str:
        with grpc.insecure_channel(port) as channel:
            try:
                jobs_pb2_grpc.JobServiceStub(channel).GetJob(jobs_pb2.GetJobRequest())
            except grpc.RpcError as error:
                return remote_error(error).refusal.reason
        return ""

    async def test() -> None:
        async with serving(tmp_path, register) as backing:
            assert await asyncio.to_thread(call, backing.address) == "NOT_FOUND"

    run(test())


def test_a_server_that_is_not_there_is_unavailable() -> None:
    async def test() -> None:
        async with grpc.aio.insecure_channel("127.0.0.1:1") as channel:
            error = await refused(jobs_pb2_grpc.JobServiceStub(channel).GetJob(jobs_pb2.GetJobRequest()))
            assert (error.refusal.code, error.refusal.reason) == (Code.UNAVAILABLE, "")

    run(test())
