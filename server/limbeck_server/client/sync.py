"""`Client`: `AsyncClient` for programs without an event loop, call by call."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self, Unpack

from numpy.typing import ArrayLike

from limbeck_server.client.aio import AsyncClient, silent
from limbeck_server.client.connection import Connection, Tls
from limbeck_server.client.jobs import DistillOptions, EvaluateOptions, Event, Job, Plan
from limbeck_server.client.loop import LoopThread
from limbeck_server.client.packs import EngineInfo, Pack, ServerInfo
from limbeck_server.client.sets import Dataset, DistilledImage, DistilledSet
from limbeck_server.client.tensors import Array
from limbeck_server.client.uploads import OnProgress
from limbeck_server.store.records import JobState


class Client:
    """A server. It connects at its first call; use it by `with`. `AsyncClient` says what each call does.

    Threads may share it. It can be pickled, and a process that is spawned connects anew. A process can be forked only
    while no client is open: gRPC does not survive it, and calls in such a process raise ConfigError.
    """

    def __init__(
        self,
        address: str | Connection,
        *,
        token: str | None = None,
        token_file: str | Path | None = None,
        tls: Tls | None = None,
        insecure: bool = False,
        timeout_seconds: float = 60.0,
    ) -> None:
        """A client of the server at `host:port` or `unix:PATH`; the arguments are those of `Connection`.

        Raises:
            ConfigError: They cannot be used together.
        """
        self.connection = AsyncClient(
            address,
            token=token,
            token_file=token_file,
            tls=tls,
            insecure=insecure,
            timeout_seconds=timeout_seconds,
        ).connection
        self._live: tuple[int, LoopThread, AsyncClient] | None = None
        self._of_parent: list[object] = []

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.connection,))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the next call opens it again."""
        if self._live is not None and self._live[0] == os.getpid():
            _, thread, client = self._live
            self._live = None
            thread.run(client.close())
            thread.close()

    def server_info(self) -> ServerInfo:
        loop, client = self._here()
        return loop.run(client.server_info())

    def submit(
        self,
        method: str,
        dataset: Dataset | str,
        *,
        priority: int = 0,
        request_id: str | None = None,
        **options: Unpack[DistillOptions],
    ) -> Job:
        loop, client = self._here()
        return loop.run(client.submit(method, dataset, priority=priority, request_id=request_id, **options))

    def submit_evaluation(
        self,
        sets: Sequence[DistilledSet | str],
        test_dataset: Dataset | str,
        *,
        priority: int = 0,
        request_id: str | None = None,
        **options: Unpack[EvaluateOptions],
    ) -> Job:
        loop, client = self._here()
        return loop.run(
            client.submit_evaluation(sets, test_dataset, priority=priority, request_id=request_id, **options)
        )

    def plan(self, method: str, dataset: Dataset | str, **options: Unpack[DistillOptions]) -> Plan:
        loop, client = self._here()
        return loop.run(client.plan(method, dataset, **options))

    def job(self, job: Job | str) -> Job:
        loop, client = self._here()
        return loop.run(client.job(job))

    def jobs(self, states: Iterable[JobState | str] = ()) -> Iterator[Job]:
        loop, client = self._here()
        return loop.iterate(client.jobs(states))

    def cancel(self, job: Job | str) -> Job:
        loop, client = self._here()
        return loop.run(client.cancel(job))

    def delete(self, thing: Job | Dataset | DistilledSet | str) -> None:
        loop, client = self._here()
        loop.run(client.delete(thing))

    def events(self, job: Job | str) -> Iterator[Event]:
        loop, client = self._here()
        return loop.iterate(client.events(job))

    def watch(self, job: Job | str, after: int = 0) -> Iterator[Event]:
        loop, client = self._here()
        return loop.iterate(client.watch(job, after))

    def wait(self, job: Job | str) -> Job:
        loop, client = self._here()
        return loop.run(client.wait(job))

    def images(self, job: Job | DistilledSet | str, after: int = 0) -> Iterator[DistilledImage]:
        loop, client = self._here()
        return loop.iterate(client.images(job, after))

    def register_dataset(self, path: str, *, display_name: str = "") -> Dataset:
        loop, client = self._here()
        return loop.run(client.register_dataset(path, display_name=display_name))

    def upload_dataset(self, path: str | Path, *, display_name: str = "", on_progress: OnProgress = silent) -> Dataset:
        """As `AsyncClient.upload_dataset`; `on_progress` is called on another thread."""
        loop, client = self._here()
        return loop.run(client.upload_dataset(path, display_name=display_name, on_progress=on_progress))

    def dataset(self, dataset: Dataset | str) -> Dataset:
        loop, client = self._here()
        return loop.run(client.dataset(dataset))

    def datasets(self) -> Iterator[Dataset]:
        loop, client = self._here()
        return loop.iterate(client.datasets())

    def distilled_set(self, distilled_set: DistilledSet | str) -> DistilledSet:
        loop, client = self._here()
        return loop.run(client.distilled_set(distilled_set))

    def distilled_sets(self) -> Iterator[DistilledSet]:
        loop, client = self._here()
        return loop.iterate(client.distilled_sets())

    def set_of(self, job: Job | str) -> str:
        loop, client = self._here()
        return loop.run(client.set_of(job))

    def download(
        self, distilled_set: DistilledSet | Job | str, out: str | Path, *, on_progress: OnProgress = silent
    ) -> Path:
        """As `AsyncClient.download`; `on_progress` is called on another thread."""
        loop, client = self._here()
        return loop.run(client.download(distilled_set, out, on_progress=on_progress))

    def packs(self) -> Iterator[Pack]:
        loop, client = self._here()
        return loop.iterate(client.packs())

    def engines(self, pack: str) -> Iterator[EngineInfo]:
        loop, client = self._here()
        return loop.iterate(client.engines(pack))

    def load_engine(self, pack: str, role: str) -> EngineInfo:
        loop, client = self._here()
        return loop.run(client.load_engine(pack, role))

    def unload_engine(self, pack: str, role: str) -> EngineInfo:
        loop, client = self._here()
        return loop.run(client.unload_engine(pack, role))

    def denoise(
        self,
        pack: str,
        latents: ArrayLike,
        times: Sequence[int],
        *,
        class_ids: Sequence[int] | None = None,
        texts: Sequence[str] | None = None,
    ) -> Array:
        loop, client = self._here()
        return loop.run(client.denoise(pack, latents, times, class_ids=class_ids, texts=texts))

    def encode(self, pack: str, images: ArrayLike) -> Array:
        loop, client = self._here()
        return loop.run(client.encode(pack, images))

    def decode(self, pack: str, latents: ArrayLike) -> Array:
        loop, client = self._here()
        return loop.run(client.decode(pack, latents))

    def features(self, pack: str, images: ArrayLike) -> Array:
        loop, client = self._here()
        return loop.run(client.features(pack, images))

    def features_gradient(self, pack: str, images: ArrayLike, cotangent: ArrayLike) -> tuple[Array, Array]:
        loop, client = self._here()
        return loop.run(client.features_gradient(pack, images, cotangent))

    def _here(self) -> tuple[LoopThread, AsyncClient]:
        """The client of this process, with the loop that it runs on."""
        if self._live is not None and self._live[0] != os.getpid():
            # Closing what the parent has open would speak over its connection, and so would dropping it.
            self._of_parent.append(self._live)
            self._live = None
        if self._live is None:
            self._live = (os.getpid(), LoopThread(), AsyncClient(self.connection))
        return self._live[1], self._live[2]
