"""Requests before they are messages."""

from __future__ import annotations

import grpc
import pytest

pytest.importorskip("grpc", reason="the server extra is not installed")

from limbeck_server.rpc import jobs_pb2, jobs_pb2_grpc, specs_pb2
from support.live_server import LiveServer

pytestmark = pytest.mark.slow

CREATE = "/limbeck.v1.JobService/CreateJob"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> LiveServer:
    root = tmp_path_factory.mktemp("requests")
    (root / "data").mkdir()
    with LiveServer(root / "root", root / "data") as server:
        yield server


@pytest.mark.parametrize("content", [b"\xff" * 1000, b"\x0a\x03\xff\xfe\xfd", b"\x1a\x02\xff\xff"])
def test_bytes_that_are_no_message_are_refused_in_words(server: LiveServer, content: bytes) -> None:
    with server.channel() as channel, pytest.raises(grpc.RpcError) as found:
        channel.unary_unary(CREATE)(content, timeout=30)
    assert found.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "limbeck.v1.JobService/CreateJob" in found.value.details()


def test_a_spec_of_megabytes_is_refused_before_it_is_unpacked(server: LiveServer) -> None:
    reading = specs_pb2.Reading(class_names=["x" * 100] * 20_000)
    spec = specs_pb2.DistillSpec(dataset=f"datasets/{'0' * 32}", reading=reading)
    with server.channel() as channel, pytest.raises(grpc.RpcError) as found:
        jobs_pb2_grpc.JobServiceStub(channel).CreateJob(jobs_pb2.CreateJobRequest(distill=spec), timeout=30)
    assert found.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "262,144" in found.value.details()
