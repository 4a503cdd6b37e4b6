"""The public direct calls, through a real channel to engines that run the shipped packs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import numpy as np
import pytest

grpc = pytest.importorskip("grpc", reason="the server extra is not installed")

from limbeck.arrays import Array  # noqa: E402
from limbeck.backends.onnxruntime import OnnxRuntime  # noqa: E402
from limbeck.diffusion.denoiser import ClassCondition  # noqa: E402
from limbeck.diffusion.text_condition import TextCondition  # noqa: E402
from limbeck.models import open_models  # noqa: E402
from limbeck.pack import Pack  # noqa: E402
from limbeck_server.engines.front import CallLimits  # noqa: E402
from limbeck_server.rpc import inference_pb2 as pb  # noqa: E402
from limbeck_server.rpc import inference_pb2_grpc, tensors_pb2  # noqa: E402
from limbeck_server.wire.errors import RemoteError, remote_error  # noqa: E402
from support.call_workers import BUCKET, SECONDS, ThreadLink, one_worker, served  # noqa: E402

T = TypeVar("T")
Act = Callable[[Any], Awaitable[T]]


def tensor(array: Array) -> tensors_pb2.Tensor:
    dtype = tensors_pb2.DataType.Value(f"DATA_TYPE_{array.dtype.name.upper()}")
    return tensors_pb2.Tensor(dtype=dtype, shape=array.shape, data=array.tobytes())


def array(found: tensors_pb2.Tensor) -> Array:
    assert found.dtype == tensors_pb2.DATA_TYPE_FLOAT32
    return np.frombuffer(found.data, np.float32).reshape(found.shape)


def through(act: Act[T], *packs: str, link: ThreadLink | None = None, limits: CallLimits | None = None) -> T:
    """What `act` gets from a stub; over `link`, or over a worker of these packs."""

    async def main(link: ThreadLink) -> T:
        async with served(link, *packs, limits=limits) as address, grpc.aio.insecure_channel(address) as channel:
            return await asyncio.wait_for(act(inference_pb2_grpc.InferenceServiceStub(channel)), SECONDS)

    if link is not None:
        return asyncio.run(main(link))
    with one_worker(*packs, max_delay_seconds=0.05) as made:
        return asyncio.run(main(made))


def refused(
    act: Act[object], *packs: str, link: ThreadLink | None = None, limits: CallLimits | None = None
) -> RemoteError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        through(act, *packs, link=link, limits=limits)
    return remote_error(caught.value)


def some_latents(rng: np.random.Generator, rows: int) -> Array:
    return rng.standard_normal((rows, 16, 8, 8), np.float32)


def some_images(rng: np.random.Generator, rows: int, size: int) -> Array:
    return rng.random((rows, 3, size, size), np.float32)


def test_denoise_answers_what_the_library_computes_for_classes(rng: np.random.Generator) -> None:
    latents = some_latents(rng, 3)
    request = pb.DenoiseRequest(
        pack="packs/mini", latents=tensor(latents), times=[0, 10, 999], classes=pb.ClassCondition(class_ids=[1, -1, 9])
    )
    found = through(lambda stub: stub.Denoise(request))
    with open_models(Pack.open("mini"), OnnxRuntime(threads=1), needs={"denoiser"}, bucket=BUCKET) as models:
        wanted = models.denoiser(latents, np.array([0, 10, 999]), ClassCondition(np.array([1, 10, 9])))
    assert np.array_equal(array(found.noise), wanted)
    assert found.batch == 3


def test_denoise_answers_what_the_library_computes_for_texts(rng: np.random.Generator) -> None:
    latents = some_latents(rng, 2)
    request = pb.DenoiseRequest(
        pack="packs/mini-text", latents=tensor(latents), times=[5, 500], texts=pb.TextCondition(texts=["a händ", ""])
    )
    found = through(lambda stub: stub.Denoise(request), "mini-text")
    with open_models(Pack.open("mini-text"), OnnxRuntime(threads=1), needs={"denoiser"}, bucket=BUCKET) as models:
        wanted = models.denoiser(latents, np.array([5, 500]), TextCondition(("a händ", "")))
    assert np.array_equal(array(found.noise), wanted)


def test_encode_and_decode_answer_what_the_library_computes(rng: np.random.Generator) -> None:
    images, latents = some_images(rng, 2, 64), some_latents(rng, 2)

    async def act(stub: Any) -> tuple[Array, Array]:
        encoded = await stub.Encode(pb.EncodeRequest(pack="packs/mini", images=tensor(images)))
        decoded = await stub.Decode(pb.DecodeRequest(pack="packs/mini", latents=tensor(latents)))
        return array(encoded.latents), array(decoded.images)

    encoded, decoded = through(act)
    with open_models(Pack.open("mini"), OnnxRuntime(threads=1), needs={"codec"}, bucket=BUCKET) as models:
        assert np.array_equal(encoded, models.codec.encode(images))
        assert np.array_equal(decoded, models.codec.decode(latents))


def test_features_and_gradient_answer_what_the_library_computes(rng: np.random.Generator) -> None:
    images, cotangent = some_images(rng, 2, 224), rng.standard_normal((2, 1280), np.float32)

    async def act(stub: Any) -> tuple[Any, Any]:
        plain = await stub.Features(pb.FeaturesRequest(pack="packs/mini", images=tensor(images)))
        request = pb.FeaturesGradientRequest(pack="packs/mini", images=tensor(images), cotangent=tensor(cotangent))
        return plain, await stub.FeaturesGradient(request)

    plain, both = through(act)
    with open_models(Pack.open("mini"), OnnxRuntime(threads=1), needs={"gradient"}, bucket=BUCKET) as models:
        features, gradient = models.backbone.vjp(images, cotangent)  # type: ignore[attr-defined]
        assert np.array_equal(array(plain.features), models.backbone.features(images))
    assert np.array_equal(array(both.features), features)
    assert np.array_equal(array(both.gradient), gradient)


def test_eight_callers_share_runs_and_get_their_own_rows(rng: np.random.Generator) -> None:
    several = [some_latents(rng, 1) for _ in range(8)]

    async def decode(stub: Any, latents: Array) -> Any:
        return await stub.Decode(pb.DecodeRequest(pack="packs/mini", latents=tensor(latents)))

    async def act(stub: Any) -> tuple[list[Any], list[Any]]:
        together = await asyncio.gather(*(decode(stub, latents) for latents in several))
        return together, [await decode(stub, latents) for latents in several]

    together, alone = through(act)
    assert all(found.batch > 1 for found in together)
    assert [found.batch for found in alone] == [1] * 8
    assert [found.images for found in together] == [found.images for found in alone]


@pytest.mark.parametrize(
    ("request_", "field", "says"),
    [
        (pb.DenoiseRequest(pack="mini"), "condition", "give classes or texts"),
        (pb.DenoiseRequest(pack="mini", classes=pb.ClassCondition()), "pack", "must be packs/{a pack}"),
        (
            pb.DenoiseRequest(pack="packs/mini", times=[1], classes=pb.ClassCondition(class_ids=[1])),
            "latents.dtype",
            "is unspecified; the call takes latents: float32 (batch, 16, 8, 8)",
        ),
        (
            pb.DenoiseRequest(
                pack="packs/mini",
                latents=tensors_pb2.Tensor(dtype=1, shape=[1, 16, 8, 8], data=bytes(7)),
                times=[1, 2],
                classes=pb.ClassCondition(class_ids=[1, 2, 3]),
            ),
            "classes.class_ids.shape",
            "where batch is 3; in latents it is 1",
        ),
        (
            pb.DenoiseRequest(
                pack="packs/mini",
                latents=tensors_pb2.Tensor(dtype=1, shape=[1, 16, 8, 8], data=bytes(7)),
                times=[1],
                classes=pb.ClassCondition(class_ids=[1]),
            ),
            "latents.data",
            "has 7 bytes; float32 [1, 16, 8, 8] has 4096",
        ),
        (
            pb.DenoiseRequest(pack="packs/mini", times=[1], texts=pb.TextCondition(texts=["a"])),
            "texts.texts",
            "is unknown; the call takes latents",
        ),
    ],
)
def test_a_field_that_is_wrong_is_named(request_: pb.DenoiseRequest, field: str, says: str) -> None:
    refusal = refused(lambda stub: stub.Denoise(request_), link=ThreadLink()).refusal
    assert refusal.code == grpc.StatusCode.INVALID_ARGUMENT
    assert says in {one.field: one.description for one in refusal.violations}[field]


def test_an_unknown_number_for_an_element_type_is_refused() -> None:
    request = pb.DecodeRequest(pack="packs/mini", latents=tensors_pb2.Tensor(dtype=99, shape=[1, 16, 8, 8]))  # type: ignore[arg-type]
    refusal = refused(lambda stub: stub.Decode(request), link=ThreadLink()).refusal
    assert [one.field for one in refusal.violations] == ["latents.dtype"]


def test_an_unknown_pack_is_not_found() -> None:
    refusal = refused(lambda stub: stub.Decode(pb.DecodeRequest(pack="packs/maxi")), link=ThreadLink()).refusal
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")


def test_a_call_that_the_pack_cannot_answer_is_not_found() -> None:
    refusal = refused(
        lambda stub: stub.FeaturesGradient(pb.FeaturesGradientRequest(pack="packs/mini-text")),
        "mini-text",
        link=ThreadLink(),
    ).refusal
    assert refusal.code == grpc.StatusCode.NOT_FOUND
    assert "does not answer 'features_gradient'; it answers: denoise" in refusal.message


def test_a_class_that_the_network_does_not_know_is_an_invalid_argument(rng: np.random.Generator) -> None:
    request = pb.DenoiseRequest(
        pack="packs/mini",
        latents=tensor(some_latents(rng, 1)),
        times=[1],
        classes=pb.ClassCondition(class_ids=[77]),
    )
    refusal = refused(lambda stub: stub.Denoise(request)).refusal
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FEED_ERROR")


def test_without_a_worker_a_call_says_when_to_come_back(rng: np.random.Generator) -> None:
    request = pb.DecodeRequest(pack="packs/mini", latents=tensor(some_latents(rng, 1)))
    refusal = refused(lambda stub: stub.Decode(request), link=ThreadLink()).refusal
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "NO_WORKER")
    assert refusal.retry_seconds == 5


def test_too_many_calls_at_a_time_are_refused_and_may_be_repeated(rng: np.random.Generator) -> None:
    request = pb.DecodeRequest(pack="packs/mini", latents=tensor(some_latents(rng, 2)))

    async def act(stub: Any) -> Any:
        found = await asyncio.gather(*(stub.Decode(request) for _ in range(4)), return_exceptions=True)
        raise next(one for one in found if isinstance(one, grpc.aio.AioRpcError))

    refusal = refused(act, limits=CallLimits(max_waiting_calls=1)).refusal
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_CALLS")
    assert refusal.retry_seconds == 1
