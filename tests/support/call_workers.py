"""Workers that answer direct calls, each a real `CallServer` on a thread of this process, and the front over them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from queue import SimpleQueue

import grpc
import numpy as np

from limbeck.arrays import Array
from limbeck.backends.base import Backend
from limbeck.backends.onnxruntime import OnnxRuntime
from limbeck.pack import Pack
from limbeck_server.engines.calls import CallServer
from limbeck_server.engines.catalog import Catalog
from limbeck_server.engines.changes import change
from limbeck_server.engines.front import CallLimits, CallWorker, EngineCalls, WorkerLostError
from limbeck_server.engines.reasons import error_of
from limbeck_server.engines.signature import TEXT
from limbeck_server.engines.table import EngineTable
from limbeck_server.engines.texts import join_texts
from limbeck_server.rpc import grpc_service_pb2_grpc, inference_pb2_grpc, worker_pb2
from limbeck_server.services.inference import InferenceService
from limbeck_server.services.interceptor import ErrorInterceptor
from limbeck_server.services.kserve import KserveService

BUCKET = 4
SECONDS = 120.0


def table(
    *packs: str, bucket: int = BUCKET, limit_nbytes: int | None = None, backend: Backend | None = None
) -> EngineTable:
    """A table of shipped packs; of `mini` alone if none are named."""
    folders = {pack: pack for pack in packs or ("mini",)}
    return EngineTable(folders, backend or OnnxRuntime(threads=1), bucket=bucket, limit_nbytes=limit_nbytes)


def tensor_of(name: str, array: Array) -> worker_pb2.Tensor:
    return worker_pb2.Tensor(name=name, dtype=array.dtype.name, shape=array.shape, data=array.tobytes())


def texts_of(name: str, texts: Sequence[str]) -> worker_pb2.Tensor:
    data = join_texts(text.encode() for text in texts)
    return worker_pb2.Tensor(name=name, dtype=TEXT, shape=[len(texts)], data=data)


def call_of(call: str, feeds: Mapping[str, Array], *, pack: str = "mini", call_id: int = 1) -> worker_pb2.Call:
    inputs = [tensor_of(name, array) for name, array in feeds.items()]
    return worker_pb2.Call(id=call_id, pack=pack, call=call, inputs=inputs)


def arrays_of(answered: worker_pb2.CallAnswered) -> dict[str, Array]:
    assert not answered.reason, answered.message
    return {one.name: np.frombuffer(one.data, one.dtype).reshape(one.shape) for one in answered.outputs}


class ThreadWorker:
    """A worker's thread. Use it by `with`."""

    def __init__(self, name: str, engines: EngineTable, *, max_delay_seconds: float = 0.003) -> None:
        self.name = name
        self.engines = engines
        self.calls = CallServer(engines, max_delay_seconds=max_delay_seconds)
        self._answer_to: dict[int, Callable[[worker_pb2.CallAnswered], None]] = {}
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._live)

    def ask(self, call: worker_pb2.Call, answer: Callable[[worker_pb2.CallAnswered], None]) -> None:
        self._answer_to[call.id] = answer
        self.calls.submit(call)
        self._work.put(self._serve)

    def do(self, work: Callable[[], None]) -> None:
        """Run something on the worker's thread."""
        self._work.put(work)

    def __enter__(self) -> ThreadWorker:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._work.put(None)
        self._thread.join(SECONDS)
        self.engines.close()

    def _live(self) -> None:
        while (work := self._work.get()) is not None:
            work()

    def _serve(self) -> None:
        for answered in self.calls.serve():
            self._answer_to.pop(answered.id)(answered)


class ThreadLink:
    """`WorkerLink` and `EngineControl` over such workers."""

    def __init__(self, *workers: ThreadWorker) -> None:
        self._workers = {worker.name: worker for worker in workers}
        self.lost: set[str] = set()
        """Workers that end as soon as they are asked."""
        self.asked: list[str] = []
        """The worker of every call."""

    def call_workers(self) -> Sequence[CallWorker]:
        return [
            CallWorker(name, frozenset((one.pack, one.role) for one in worker.engines.loaded))
            for name, worker in self._workers.items()
        ]

    async def call(self, worker: str, call: worker_pb2.Call) -> worker_pb2.CallAnswered:
        self.asked.append(worker)
        if worker in self.lost:
            del self._workers[worker]
            raise WorkerLostError(f"{worker} ended")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[worker_pb2.CallAnswered] = loop.create_future()
        self._workers[worker].ask(call, lambda found: loop.call_soon_threadsafe(answer.set_result, found))
        try:
            return await asyncio.wait_for(answer, SECONDS)
        except asyncio.CancelledError:
            self._workers[worker].calls.cancel(call.id)
            raise

    def loaded_on(self, pack: str, role: str) -> Sequence[str]:
        return [worker.id for worker in self.call_workers() if (pack, role) in worker.loaded]

    async def load(self, pack: str, role: str) -> None:
        await self._change(worker_pb2.EngineChange(pack=pack, role=role, load=True))

    async def unload(self, pack: str, role: str) -> None:
        await self._change(worker_pb2.EngineChange(pack=pack, role=role))

    async def _change(self, asked: worker_pb2.EngineChange) -> None:
        loop = asyncio.get_running_loop()
        for worker in self._workers.values():
            done: asyncio.Future[worker_pb2.EnginesLoaded] = loop.create_future()

            def work(worker: ThreadWorker = worker, done: asyncio.Future[worker_pb2.EnginesLoaded] = done) -> None:
                loop.call_soon_threadsafe(done.set_result, change(worker.engines, asked))

            worker.do(work)
            if (found := await asyncio.wait_for(done, SECONDS)).reason:
                raise error_of(found.reason, found.message)


@contextmanager
def one_worker(*packs: str, bucket: int = BUCKET, max_delay_seconds: float = 0.003) -> Iterator[ThreadLink]:
    """The link to a single worker."""
    with ThreadWorker("w0", table(*packs, bucket=bucket), max_delay_seconds=max_delay_seconds) as worker:
        yield ThreadLink(worker)


def engine_calls(link: ThreadLink, *packs: str, limits: CallLimits | None = None) -> EngineCalls:
    catalog = Catalog({pack: Pack.open(pack).manifest for pack in packs or ("mini",)})
    return EngineCalls(catalog, link, limits=limits)


@asynccontextmanager
async def served(link: ThreadLink, *packs: str, limits: CallLimits | None = None) -> AsyncIterator[str]:
    """The address of a server with both services over `link`."""
    calls = engine_calls(link, *packs, limits=limits)
    server = grpc.aio.server(interceptors=[ErrorInterceptor(Path("/nowhere"))], options=[("grpc.so_reuseport", 0)])
    inference_pb2_grpc.add_InferenceServiceServicer_to_server(InferenceService(calls), server)
    grpc_service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(KserveService(calls, link), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)
