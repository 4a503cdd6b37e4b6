"""A worker's calls, on the shipped packs with ONNX Runtime: what they answer, and who shares a run with whom."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pytest

pytest.importorskip("grpc", reason="the server extra is not installed")

from limbeck.arrays import Array
from limbeck.backends.onnxruntime import OnnxRuntime
from limbeck.diffusion.denoiser import ClassCondition
from limbeck.diffusion.text_condition import TextCondition
from limbeck.engine import compile
from limbeck.models import open_models
from limbeck.pack import Pack
from limbeck_server.engines.calls import CallServer
from limbeck_server.rpc import worker_pb2
from support.call_workers import BUCKET, SECONDS, arrays_of, call_of, table, tensor_of, texts_of

PACK = Pack.open("mini")


@pytest.fixture(scope="module")
def server() -> Iterator[CallServer]:
    engines = table("mini", "mini-text")
    yield CallServer(engines)
    engines.close()


def answers(server: CallServer, *calls: worker_pb2.Call) -> dict[int, worker_pb2.CallAnswered]:
    for call in calls:
        server.submit(call)
    return {answered.id: answered for answered in server.serve()}


def answer(server: CallServer, call: str, **feeds: Array) -> dict[str, Array]:
    return arrays_of(answers(server, call_of(call, feeds))[1])


def some_latents(rng: np.random.Generator, rows: int) -> Array:
    return rng.standard_normal((rows, 16, 8, 8), np.float32)


def some_images(rng: np.random.Generator, rows: int, size: int) -> Array:
    return rng.random((rows, 3, size, size), np.float32)


def backend() -> OnnxRuntime:
    return OnnxRuntime(threads=1)


def test_decode_and_encode_are_the_codec_of_a_job(server: CallServer, rng: np.random.Generator) -> None:
    latents, images = some_latents(rng, 3), some_images(rng, 3, 64)
    with open_models(PACK, backend(), needs={"codec"}, bucket=BUCKET) as models:
        assert np.array_equal(answer(server, "decode", latents=latents)["images"], models.codec.decode(latents))
        assert np.array_equal(answer(server, "encode", images=images)["latents"], models.codec.encode(images))


def test_denoise_is_the_denoiser_of_a_job_and_minus_one_is_no_class(
    server: CallServer, rng: np.random.Generator
) -> None:
    latents, times, class_ids = some_latents(rng, 3), np.array([0, 500, 999]), np.array([3, -1, 10])
    found = answer(server, "denoise", latents=latents, times=times, class_ids=class_ids)["noise"]
    with open_models(PACK, backend(), needs={"denoiser"}, bucket=BUCKET) as models:
        wanted = models.denoiser(latents, times, ClassCondition(np.array([3, 10, 10])))
    assert np.array_equal(found, wanted)


def test_denoise_of_a_network_that_knows_texts_takes_prompts(server: CallServer, rng: np.random.Generator) -> None:
    latents, times, prompts = some_latents(rng, 2), np.array([1, 700]), ["a hand", ""]
    inputs = [tensor_of("latents", latents), tensor_of("times", times), texts_of("prompts", prompts)]
    found = answers(server, worker_pb2.Call(id=1, pack="mini-text", call="denoise", inputs=inputs))[1]
    with open_models(Pack.open("mini-text"), backend(), needs={"denoiser"}, bucket=BUCKET) as models:
        wanted = models.denoiser(latents, times, TextCondition(tuple(prompts)))
    assert np.array_equal(arrays_of(found)["noise"], wanted)


def test_features_and_their_gradient_are_the_backbone_of_a_job(server: CallServer, rng: np.random.Generator) -> None:
    images, cotangent = some_images(rng, 2, 224), rng.standard_normal((2, 1280), np.float32)
    found = answer(server, "features_gradient", images=images, cotangent=cotangent)
    with open_models(PACK, backend(), needs={"gradient"}, bucket=BUCKET) as models:
        features, gradient = models.backbone.vjp(images, cotangent)  # type: ignore[attr-defined]
        assert np.array_equal(answer(server, "features", images=images)["features"], models.backbone.features(images))
    assert np.array_equal(found["features"], features)
    assert np.array_equal(found["gradient"], gradient)


def test_a_graph_runs_as_it_is(server: CallServer, rng: np.random.Generator) -> None:
    latents = some_latents(rng, BUCKET)
    with compile(PACK.graph("decoder"), backend()) as engine:
        wanted = engine.run({"latents": latents})["pixels"]
    assert np.array_equal(answer(server, "graph:decoder", latents=latents)["pixels"], wanted)


def test_a_graph_without_rows_runs_on_exactly_what_it_is_given(server: CallServer, rng: np.random.Generator) -> None:
    feeds = {
        "pixels": some_images(rng, 3, 224),
        "flow": rng.standard_normal((2, 1280), np.float32),
        "membership": np.array([[1, 0], [0, 0.5], [0, 0.5]], np.float32),
        "divisor": np.ones(1, np.float32),
    }
    with compile(PACK.graph("flow_gradient"), backend()) as engine:
        wanted = engine.run(feeds)
    found = answer(server, "graph:flow_gradient", **feeds)
    assert found["loss"].shape == (1,)
    assert all(np.array_equal(found[name], wanted[name]) for name in wanted)


def test_calls_that_wait_together_share_a_run(server: CallServer, rng: np.random.Generator) -> None:
    calls = [call_of("decode", {"latents": some_latents(rng, 1)}, call_id=i) for i in range(BUCKET)]
    assert {answered.batch for answered in answers(server, *calls).values()} == {BUCKET}


def test_a_row_is_the_same_to_the_bit_alone_and_shared(server: CallServer, rng: np.random.Generator) -> None:
    several = [some_latents(rng, rows) for rows in (1, 3, 2, 5, 1)]
    alone = [answer(server, "decode", latents=latents)["images"] for latents in several]
    calls = [call_of("decode", {"latents": latents}, call_id=i) for i, latents in enumerate(several)]
    shared = answers(server, *calls)
    assert all(np.array_equal(arrays_of(shared[i])["images"], alone[i]) for i in range(len(several)))


def test_a_call_larger_than_the_bucket_is_whole_again(server: CallServer, rng: np.random.Generator) -> None:
    latents = some_latents(rng, 2 * BUCKET + 1)
    found = answers(server, call_of("decode", {"latents": latents}))[1]
    rows = [answer(server, "decode", latents=latents[i : i + 1])["images"] for i in range(len(latents))]
    assert np.array_equal(arrays_of(found)["images"], np.concatenate(rows))
    assert found.batch == BUCKET


@pytest.mark.parametrize("other", [{"call": "graph:decoder"}, {"pack": "mini-text"}, {"arguments_json": "{}"}])
def test_calls_for_different_things_do_not_share(
    server: CallServer, rng: np.random.Generator, other: Mapping[str, str]
) -> None:
    first = call_of("decode", {"latents": some_latents(rng, 1)}, call_id=1)
    second = call_of("decode", {"latents": some_latents(rng, 1)}, call_id=2)
    second.MergeFrom(worker_pb2.Call(**other))
    assert [answered.batch for answered in answers(server, first, second).values()] == [1, 1]


def test_a_call_waits_for_another_to_share_its_run(rng: np.random.Generator) -> None:
    server = CallServer(table(), max_delay_seconds=SECONDS)
    late = call_of("decode", {"latents": some_latents(rng, BUCKET - 1)}, call_id=2)
    timer = threading.Timer(0.2, server.submit, [late])
    timer.start()
    found = answers(server, call_of("decode", {"latents": some_latents(rng, 1)}, call_id=1))
    timer.join()
    assert {answered.batch for answered in found.values()} == {BUCKET}


def refused(server: CallServer, call: worker_pb2.Call) -> tuple[str, str]:
    found = answers(server, call)[call.id]
    assert not found.outputs
    return found.reason, found.message


def test_an_unknown_pack_is_refused_with_those_there_are(server: CallServer) -> None:
    reason, message = refused(server, call_of("decode", {}, pack="maxi"))
    assert reason == "NOT_FOUND"
    assert message == "there is no pack 'maxi'; there are: mini, mini-text"


def test_an_unknown_call_is_refused_with_those_there_are(server: CallServer) -> None:
    reason, message = refused(server, call_of("improve", {}))
    assert reason == "NOT_FOUND"
    assert "'mini' does not answer 'improve'; it answers: denoise, encode" in message


def test_wrong_tensors_are_refused_with_what_would_work(server: CallServer) -> None:
    reason, message = refused(server, call_of("decode", {"latents": np.zeros((1, 16, 9, 8), np.float32)}))
    assert reason == "FEED_ERROR"
    assert message == "latents.shape is [1, 16, 9, 8]; the call takes latents: float32 (batch, 16, 8, 8)"


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("times", 1000, "'times' has 1000 to 1000; this denoiser knows 0 to 999"),
        ("times", -1, "'times' has -1"),
        ("class_ids", 11, "'class_ids' has 11 to 11; this denoiser knows -1 to 9"),
        ("class_ids", -2, "'class_ids' has -2"),
    ],
)
def test_a_time_or_a_class_that_the_network_does_not_know_is_refused(
    server: CallServer, name: str, value: int, says: str
) -> None:
    feeds = {"latents": np.zeros((1, 16, 8, 8), np.float32), "times": np.array([1]), "class_ids": np.array([1])}
    reason, message = refused(server, call_of("denoise", feeds | {name: np.array([value])}))
    assert reason == "FEED_ERROR"
    assert says in message


def test_a_prompt_that_is_no_text_is_refused(server: CallServer) -> None:
    prompts = worker_pb2.Tensor(name="prompts", dtype="bytes", shape=[1], data=b"\x01\x00\x00\x00\xff")
    inputs = [tensor_of("latents", np.zeros((1, 16, 8, 8), np.float32)), tensor_of("times", np.array([1])), prompts]
    reason, message = refused(server, worker_pb2.Call(id=1, pack="mini-text", call="denoise", inputs=inputs))
    assert reason == "FEED_ERROR"
    assert "no UTF-8" in message


def test_a_call_that_fails_fails_alone(server: CallServer) -> None:
    """The runtime refuses a class that its table lacks, in a run that three callers share."""
    ids: Sequence[int] = (1, 99, 2)
    calls = [
        call_of("graph:conditioner", {"timestep": np.array([5]), "class_id": np.array([class_id])}, call_id=i)
        for i, class_id in enumerate(ids)
    ]
    found = answers(server, *calls)
    assert [found[i].reason for i in range(3)] == ["", "ENGINE_ERROR", ""]
    alone = answer(server, "graph:conditioner", timestep=np.array([5]), class_id=np.array([2]))
    assert np.array_equal(arrays_of(found[2])["modulation"], alone["modulation"])


def test_a_cancelled_call_gets_no_answer(server: CallServer, rng: np.random.Generator) -> None:
    server.submit(call_of("decode", {"latents": some_latents(rng, 1)}, call_id=1))
    server.cancel(1)
    found = answers(server, call_of("decode", {"latents": some_latents(rng, 1)}, call_id=2))
    assert {answered.id: answered.batch for answered in found.values()} == {2: 1}
    assert not server.pending


def test_no_run_begins_after_the_time_that_a_job_leaves(server: CallServer, rng: np.random.Generator) -> None:
    server.submit(call_of("decode", {"latents": some_latents(rng, 1)}))
    assert list(server.serve(limit_seconds=0)) == []
    assert server.pending
    assert [answered.id for answered in server.serve()] == [1]


def test_a_call_that_comes_during_a_run_waits_for_the_next_time(server: CallServer, rng: np.random.Generator) -> None:
    """Or callers who never stop would keep the worker from its jobs."""
    server.submit(call_of("decode", {"latents": some_latents(rng, BUCKET)}, call_id=1))
    found = []
    for answered in server.serve():
        found.append(answered.id)
        server.submit(call_of("decode", {"latents": some_latents(rng, BUCKET)}, call_id=answered.id + 1))
    assert found == [1]
    assert [answered.id for answered in server.serve()] == [2]


def test_a_call_does_not_wait_while_calls_for_other_things_keep_coming(
    server: CallServer, rng: np.random.Generator
) -> None:
    over = threading.Event()

    def keep_calling() -> None:
        for call_id in range(2, 200_000):
            if over.is_set():
                return
            server.submit(call_of("improve", {}, call_id=call_id))

    server.submit(call_of("decode", {"latents": some_latents(rng, 1)}, call_id=1))
    others = threading.Thread(target=keep_calling)
    others.start()
    serving = server.serve()
    while next(serving).id != 1:
        pass
    came_in_time = others.is_alive()
    over.set()
    others.join()
    assert came_in_time
    list(serving)
    list(server.serve())
