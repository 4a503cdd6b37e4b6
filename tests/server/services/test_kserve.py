"""The Open Inference Protocol, spoken by Triton's own client and by a plain stub."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest

grpc = pytest.importorskip("grpc", reason="the server extra is not installed")

from limbeck.arrays import Array  # noqa: E402
from limbeck.backends.onnxruntime import OnnxRuntime  # noqa: E402
from limbeck.diffusion.text_condition import TextCondition  # noqa: E402
from limbeck.engine import compile  # noqa: E402
from limbeck.models import open_models  # noqa: E402
from limbeck.pack import Pack  # noqa: E402
from limbeck_server.rpc import grpc_service_pb2 as pb  # noqa: E402
from limbeck_server.rpc import grpc_service_pb2_grpc  # noqa: E402
from limbeck_server.wire.errors import RemoteError, remote_error  # noqa: E402
from support import triton  # noqa: E402
from support.call_workers import BUCKET, SECONDS, ThreadLink, one_worker, served  # noqa: E402

T = TypeVar("T")
Report = dict[str, Any]

needs_triton = pytest.mark.skipif(
    find_spec("tritonclient") is None, reason="Triton's client is not installed: pip install 'tritonclient[grpc]'"
)


def by_triton(folder: Path, model: str, feeds: dict[str, Array], *packs: str) -> tuple[Report, dict[str, Array]]:
    """What tritonclient says of a model, and what it gets from it."""
    given, made = folder / "in.npz", folder / "out.npz"
    np.savez(given, **feeds)

    async def main(link: ThreadLink) -> Report:
        async with served(link, *packs) as address:
            client = await asyncio.create_subprocess_exec(
                *(sys.executable, triton.__file__, address, model, str(given), str(made)),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            out, err = await asyncio.wait_for(client.communicate(), SECONDS)
            assert client.returncode == 0, err.decode()
            report: Report = json.loads(out)
            return report

    with one_worker(*packs) as link:
        report = asyncio.run(main(link))
    with np.load(made) as arrays:
        return report, dict(arrays)


def states(index: list[dict[str, str]]) -> dict[str, str]:
    return {model["name"]: model["state"] for model in index}


@needs_triton
def test_tritonclient_lists_describes_and_runs_an_engine(tmp_path: Path, rng: np.random.Generator) -> None:
    latents = rng.standard_normal((BUCKET, 16, 8, 8), np.float32)
    report, made = by_triton(tmp_path, "mini.decoder", {"latents": latents})
    with compile(Pack.open("mini").graph("decoder"), OnnxRuntime(threads=1)) as engine:
        assert np.array_equal(made["pixels"], engine.run({"latents": latents})["pixels"])
    assert [report[what] for what in ("live", "ready", "model_ready")] == [True] * 3
    assert report["server"]["name"] == "limbeck"
    assert report["metadata"]["inputs"] == [
        {"name": "latents", "datatype": "FP32", "shape": ["-1", "16", "8", "8"]},
    ]
    assert report["config"]["input"] == [{"name": "latents", "data_type": "TYPE_FP32", "dims": ["16", "8", "8"]}]
    assert report["id"] == "7"
    names = {f"mini.{role}" for role in Pack.open("mini").manifest.graphs}
    calls = {f"mini:{call}" for call in ("denoise", "encode", "decode", "features", "features_gradient")}
    assert states(report["before"]).keys() == names | calls
    assert [states(report[when])["mini.decoder"] for when in ("before", "loaded", "unloaded")] == [
        "UNAVAILABLE",
        "READY",
        "UNAVAILABLE",
    ]


@needs_triton
def test_tritonclient_sends_texts(tmp_path: Path, rng: np.random.Generator) -> None:
    latents, times = rng.standard_normal((2, 16, 8, 8), np.float32), np.array([5, 500])
    prompts = np.array([b"a hand", b""], object)
    feeds = {"latents": latents, "times": times, "prompts": prompts}
    report, made = by_triton(tmp_path, "mini-text:denoise", feeds, "mini-text")
    with open_models(Pack.open("mini-text"), OnnxRuntime(threads=1), needs={"denoiser"}, bucket=BUCKET) as models:
        assert np.array_equal(made["noise"], models.denoiser(latents, times, TextCondition(("a hand", ""))))
    assert {"name": "prompts", "datatype": "BYTES", "shape": ["-1"]} in report["metadata"]["inputs"]


def through(act: Callable[[Any], Awaitable[T]], link: ThreadLink) -> T:
    async def main() -> T:
        async with served(link) as address, grpc.aio.insecure_channel(address) as channel:
            return await asyncio.wait_for(act(grpc_service_pb2_grpc.GRPCInferenceServiceStub(channel)), SECONDS)

    return asyncio.run(main())


def refused(act: Callable[[Any], Awaitable[object]]) -> RemoteError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        through(act, ThreadLink())
    return remote_error(caught.value)


def infer_of(**changes: Any) -> pb.ModelInferRequest:
    """A request for one row of the conditioner, changed."""
    ids = {"datatype": "INT64", "shape": [1]}
    fields: dict[str, Any] = {
        "model_name": "mini.conditioner",
        "inputs": [
            {"name": "timestep", "contents": {"int64_contents": [5]}, **ids},
            {"name": "class_id", "contents": {"int64_contents": [3]}, **ids},
        ],
    }
    return pb.ModelInferRequest(**fields | changes)


def test_typed_contents_are_the_same_as_raw_ones() -> None:
    raw = infer_of(raw_input_contents=[np.array([5]).tobytes(), np.array([3]).tobytes()])
    for tensor in raw.inputs:
        tensor.ClearField("contents")

    async def act(stub: Any) -> list[Any]:
        return [await stub.ModelInfer(request) for request in (infer_of(), raw)]

    with one_worker() as link:
        typed, from_raw = through(act, link)
    assert typed == from_raw
    assert [(one.name, one.datatype, list(one.shape)) for one in typed.outputs] == [
        ("modulation", "FP32", [1, 4, 6, 256]),
        ("final_modulation", "FP32", [1, 2, 256]),
    ]
    assert typed.parameters["batch"].int64_param == 1


def test_only_the_outputs_that_are_wanted_are_sent() -> None:
    request = infer_of(outputs=[{"name": "final_modulation"}])
    with one_worker() as link:
        found = through(lambda stub: stub.ModelInfer(request), link)
    assert [one.name for one in found.outputs] == ["final_modulation"]
    assert [len(one) for one in found.raw_output_contents] == [4 * 2 * 256]


SHARED = {"shared_memory_region": {"string_param": "r"}}
IDS = {"name": "timestep", "shape": [1]}


@pytest.mark.parametrize(
    ("changes", "field", "says"),
    [
        ({"outputs": [{"name": "noise"}]}, "outputs[0].name", "gives modulation, final_modulation"),
        (
            {"outputs": [{"name": "modulation", "parameters": {"classification": {"int64_param": 1}}}]},
            "outputs[0].parameters",
            "classification is not offered",
        ),
        ({"raw_input_contents": [b""]}, "raw_input_contents", "has 1 entries; 2 inputs need one each"),
        ({"raw_input_contents": [bytes(8), bytes(8)]}, "inputs[0].contents", "beside raw_input_contents"),
        ({"inputs": [{"datatype": "INT64", "parameters": SHARED, **IDS}]}, "inputs[0].parameters", "is not offered"),
        ({"inputs": [{"datatype": "FP16", **IDS}]}, "inputs[0].datatype", "is 'FP16'; contents can have BOOL"),
        (
            {"inputs": [{"datatype": "UINT8", "contents": {"uint_contents": [256]}, **IDS}]},
            "inputs[0].contents",
            "does not fit UINT8",
        ),
        ({"inputs": [{"datatype": "FP32", **IDS}]}, "inputs[0].dtype", "is float32; the call takes timestep: int64"),
        ({"inputs": []}, "class_id", "is missing"),
    ],
)
def test_what_is_wrong_with_a_request_is_named(changes: dict[str, Any], field: str, says: str) -> None:
    refusal = refused(lambda stub: stub.ModelInfer(infer_of(**changes))).refusal
    assert refusal.code == grpc.StatusCode.INVALID_ARGUMENT
    assert says in {one.field: one.description for one in refusal.violations}[field]


@pytest.mark.parametrize("name", ["mini", "mini.shallow", "maxi.decoder", ""])
def test_an_unknown_model_is_not_found(name: str) -> None:
    refusal = refused(lambda stub: stub.ModelMetadata(pb.ModelMetadataRequest(name=name))).refusal
    assert refusal.code == grpc.StatusCode.NOT_FOUND
    assert f"'{name}', and there is no such model; there are: mini.backbone" in refusal.message


def test_an_unknown_version_is_not_found() -> None:
    request = pb.ModelReadyRequest(name="mini.decoder", version="2")
    assert "has the version 1, not '2'" in str(refused(lambda stub: stub.ModelReady(request)))


def test_a_model_cannot_be_brought_along() -> None:
    request = pb.RepositoryModelLoadRequest(
        model_name="mini.decoder", parameters={"file:1/model.onnx": pb.ModelRepositoryParameter(bytes_param=b"x")}
    )
    assert "only loaded" in str(refused(lambda stub: stub.RepositoryModelLoad(request)))


def test_without_a_worker_nothing_is_ready() -> None:
    async def act(stub: Any) -> list[bool]:
        live = await stub.ServerLive(pb.ServerLiveRequest())
        server = await stub.ServerReady(pb.ServerReadyRequest())
        model = await stub.ModelReady(pb.ModelReadyRequest(name="mini.decoder"))
        return [live.live, server.ready, model.ready]

    assert through(act, ThreadLink()) == [True, False, False]


def test_the_ready_models_are_those_that_are_loaded() -> None:
    async def act(stub: Any) -> list[str]:
        await stub.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name="mini:decode"))
        index = await stub.RepositoryIndex(pb.RepositoryIndexRequest(ready=True))
        return [model.name for model in index.models]

    with one_worker() as link:
        assert through(act, link) == ["mini.decoder", "mini:decode"]


def test_a_model_without_rows_says_that_it_takes_no_batch() -> None:
    request = pb.ModelConfigRequest(name="mini.flow_gradient")
    config = through(lambda stub: stub.ModelConfig(request), ThreadLink()).config
    assert config.max_batch_size == 0
    assert [list(tensor.dims) for tensor in config.input] == [[-1, 3, 224, 224], [-1, 1280], [-1, -1], [1]]
