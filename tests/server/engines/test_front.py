"""Which worker a call goes to, and what is refused before it goes anywhere."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import pytest

grpc = pytest.importorskip("grpc", reason="the server extra is not installed")

from limbeck.errors import FeedError  # noqa: E402
from limbeck_server.engines.front import CallLimits, CallWorker, EngineCalls  # noqa: E402
from limbeck_server.rpc import worker_pb2  # noqa: E402
from limbeck_server.store.errors import NotFoundError  # noqa: E402
from limbeck_server.wire.refusal import RefusedError, RequestError  # noqa: E402
from support.call_workers import ThreadLink, ThreadWorker, arrays_of, engine_calls, one_worker, table, tensor_of  # noqa: E402

LATENTS = np.zeros((1, 16, 8, 8), np.float32)


class SlowLink:
    """Workers that answer nothing before they are told to."""

    def __init__(self, *workers: CallWorker) -> None:
        self.workers = workers
        self.asked: list[str] = []
        self.go = asyncio.Event()

    def call_workers(self) -> Sequence[CallWorker]:
        return self.workers

    async def call(self, worker: str, call: worker_pb2.Call) -> worker_pb2.CallAnswered:
        self.asked.append(worker)
        await self.go.wait()
        return worker_pb2.CallAnswered(id=call.id)


def latents(rows: int = 1) -> worker_pb2.Tensor:
    return tensor_of("latents", np.zeros((rows, 16, 8, 8), np.float32))


async def asked_of(calls: EngineCalls, link: SlowLink, *rows: int) -> list[str]:
    """The workers that calls of so many rows go to, one begun after the other."""
    tasks = []
    for count in rows:
        tasks.append(asyncio.create_task(calls.call("mini", "decode", [latents(count)])))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    link.go.set()
    await asyncio.gather(*tasks)
    return link.asked


def refusal_when_full(limits: CallLimits) -> RefusedError:
    async def main() -> RefusedError:
        link = SlowLink(CallWorker("a"))
        calls = engine_calls(link, limits=limits)
        first = asyncio.create_task(calls.call("mini", "decode", [latents(3)]))
        await asyncio.sleep(0.01)
        with pytest.raises(RefusedError) as caught:
            await calls.call("mini", "decode", [latents(3)])
        link.go.set()
        await first
        await calls.call("mini", "decode", [latents(3)])  # there is room again
        return caught.value

    return asyncio.run(main())


def test_a_call_is_answered_with_what_the_worker_made() -> None:
    with one_worker() as link:
        found = asyncio.run(engine_calls(link).call("mini", "decode", [latents(2)]))
    assert arrays_of(found)["images"].shape == (2, 3, 64, 64)


def test_a_call_goes_to_a_worker_that_has_its_engine_loaded() -> None:
    async def main() -> list[str]:
        link = SlowLink(CallWorker("a"), CallWorker("b", frozenset({("mini", "decoder")})))
        return await asked_of(engine_calls(link), link, 1, 1)

    assert asyncio.run(main()) == ["b", "b"]


def test_of_equal_workers_a_call_goes_to_the_one_with_the_fewest_rows_waiting() -> None:
    async def main() -> list[str]:
        link = SlowLink(CallWorker("a"), CallWorker("b"))
        return await asked_of(engine_calls(link), link, 5, 1, 1, 7)

    assert asyncio.run(main()) == ["a", "b", "b", "b"]


def test_a_full_worker_is_passed_over_for_one_with_room() -> None:
    async def main() -> list[str]:
        link = SlowLink(CallWorker("a"), CallWorker("b", frozenset({("mini", "decoder")})))
        calls = engine_calls(link, limits=CallLimits(max_waiting_calls=1))
        return await asked_of(calls, link, 3, 3)

    assert asyncio.run(main()) == ["b", "a"]


@pytest.mark.parametrize("limits", [CallLimits(max_waiting_calls=1), CallLimits(max_waiting_nbytes=300_000)])
def test_more_calls_than_may_wait_are_refused_until_there_is_room(limits: CallLimits) -> None:
    refusal = refusal_when_full(limits).refusal
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_CALLS")
    assert refusal.retry_seconds == 1


def test_a_call_whose_worker_dies_goes_to_another() -> None:
    with ThreadWorker("a", table()) as first, ThreadWorker("b", table()) as second:
        link = ThreadLink(first, second)
        link.lost.add("a")
        found = asyncio.run(engine_calls(link).call("mini", "decode", [latents()]))
    assert link.asked == ["a", "b"]
    assert not found.reason


def test_a_call_that_no_worker_survives_is_refused() -> None:
    with ThreadWorker("a", table()) as first, ThreadWorker("b", table()) as second:
        link = ThreadLink(first, second)
        link.lost |= {"a", "b"}
        with pytest.raises(RefusedError, match="2 workers ended") as caught:
            asyncio.run(engine_calls(link).call("mini", "decode", [latents()]))
    assert caught.value.refusal.code == grpc.StatusCode.UNAVAILABLE


def test_without_a_worker_a_call_is_refused_and_may_be_repeated() -> None:
    with pytest.raises(RefusedError, match="no worker is there") as caught:
        asyncio.run(engine_calls(ThreadLink()).call("mini", "decode", [latents()]))
    assert caught.value.refusal.retry_seconds == 5


def test_what_does_not_fit_is_refused_by_its_place_in_the_request() -> None:
    calls = engine_calls(ThreadLink())
    wrong = tensor_of("latents", np.zeros((1, 16, 8, 9), np.float32))
    with pytest.raises(RequestError) as caught:
        asyncio.run(calls.call("mini", "decode", [wrong], fields={"latents": "inputs[0]"}))
    assert [one.field for one in caught.value.violations] == ["inputs[0].shape"]


def test_rows_whose_answer_would_not_fit_a_message_are_refused_with_how_many_would() -> None:
    calls = engine_calls(ThreadLink(), limits=CallLimits(max_message_nbytes=150_000))
    with pytest.raises(RequestError, match=r"latents: has 3 rows, .* send at most 2 at a time"):
        asyncio.run(calls.call("mini", "decode", [latents(3)]))


def test_an_unknown_pack_is_refused() -> None:
    with pytest.raises(NotFoundError, match="there is no pack 'maxi'; there are: mini"):
        asyncio.run(engine_calls(ThreadLink()).call("maxi", "decode", [latents()]))


def test_what_the_worker_refuses_is_raised_as_it_was() -> None:
    inputs = [latents(), tensor_of("times", np.array([1])), tensor_of("class_ids", np.array([99]))]
    with one_worker() as link, pytest.raises(FeedError, match="'class_ids' has 99"):
        asyncio.run(engine_calls(link).call("mini", "denoise", inputs))


def test_a_caller_that_goes_leaves_nothing_waiting() -> None:
    async def main() -> None:
        calls = engine_calls(link, limits=CallLimits(max_waiting_calls=1))
        gone = asyncio.create_task(calls.call("mini", "decode", [latents()]))
        await asyncio.sleep(0.01)
        gone.cancel()
        await asyncio.wait([gone])
        await calls.call("mini", "decode", [latents()])

    with one_worker(max_delay_seconds=0.2) as link:
        asyncio.run(main())


def test_the_front_of_calls_loads_no_runtime() -> None:
    program = (
        "import sys, limbeck_server.services.inference, limbeck_server.services.kserve\n"
        "print({'torch', 'onnx', 'onnxruntime', 'sklearn'} & sys.modules.keys() or 'none')"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout == "none\n"
