"""The server, put together: the only module that chooses what serves whom.

             clients                          operators
                │ gRPC (limbeck.v1, KServe v2)     │ HTTP (metrics, page)
┌───────────────┴──────── front ───────────────────┴───────┐
│  interceptors: metrics, drain, tokens, errors             │      side processes:
│  services ── ledger (SQLite) ── blobs ── pool ────────────┼───── plans, uploads
└──────────────────────────────────────────┬───────────────┘
                                            │ gRPC on a Unix socket
                                 workers, one a device: engines
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import AsyncExitStack, ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import grpc
from grpc_reflection.v1alpha import reflection

from limbeck.durable import disk_errors_explained
from limbeck.errors import ConfigError
from limbeck.pack import Pack
from limbeck_server.datasets.checking import Checker
from limbeck_server.datasets.folders import DatasetFolders
from limbeck_server.datasets.limits import DatasetLimits
from limbeck_server.datasets.receiving import Uploads
from limbeck_server.datasets.sweep import sweep
from limbeck_server.engines.catalog import Catalog
from limbeck_server.engines.front import CallLimits, EngineCalls
from limbeck_server.operations.checks import Checks
from limbeck_server.operations.drain import Drain, DrainGate
from limbeck_server.operations.facts import ServerFacts
from limbeck_server.operations.health import Health
from limbeck_server.operations.metrics import Metrics
from limbeck_server.operations.rpc_metrics import RpcMetrics
from limbeck_server.operations.state import Condition, ServerState
from limbeck_server.operations.tracing import OpenTelemetry, Tracing
from limbeck_server.rpc import (
    datasets_pb2_grpc,
    grpc_service_pb2_grpc,
    inference_pb2_grpc,
    jobs_pb2_grpc,
    packs_pb2_grpc,
    plans_pb2_grpc,
    server_pb2_grpc,
    sets_pb2_grpc,
    worker_pb2_grpc,
)
from limbeck_server.services.datasets import Datasets
from limbeck_server.services.inference import InferenceService
from limbeck_server.services.interceptor import ErrorInterceptor
from limbeck_server.services.jobs import Jobs
from limbeck_server.services.kserve import KserveService
from limbeck_server.services.packs import Packs
from limbeck_server.services.plans import Plans
from limbeck_server.services.server_info import Device, Limits, ServerInformation
from limbeck_server.services.sets import DistilledSets
from limbeck_server.services.sets_sweep import sweep_sets
from limbeck_server.settings import ServerSettings
from limbeck_server.side.runner import SideProcesses
from limbeck_server.spec import Rules
from limbeck_server.store.blobs import Blobs
from limbeck_server.store.lock import RootLock
from limbeck_server.store.root import open_ledger
from limbeck_server.store.threaded import ThreadedStore
from limbeck_server.trust.authorization import Authorization
from limbeck_server.trust.exposure import check_exposure, is_local
from limbeck_server.trust.limits import ConnectionLimits
from limbeck_server.trust.paths import AllowedRoots
from limbeck_server.trust.quotas import Streams
from limbeck_server.trust.scopes import SCOPES
from limbeck_server.trust.tls import ServerTls
from limbeck_server.trust.tokens import TokenFile
from limbeck_server.web.pages import Pages
from limbeck_server.web.server import HttpServer
from limbeck_server.web.view import LedgerView, worker_row
from limbeck_server.workers.config import WorkerConfig
from limbeck_server.workers.control import EngineControl
from limbeck_server.workers.ledger import WorkLedger
from limbeck_server.workers.link import NO_LIMIT
from limbeck_server.workers.planning import SidePlanning
from limbeck_server.workers.pool import PoolPolicy, WorkerPool
from limbeck_server.workers.progress import PoolProgress

_log = logging.getLogger(__name__)

_CHECK_NBYTES = 2 * 2**30
"""Private memory of the process that looks through a dataset; an image of the largest size takes about half of it."""

_FORGOTTEN_SECONDS = 3600.0
"""How long a file that no job refers to is kept: longer than a worker takes from writing it to reporting it."""


class Server:
    """A server of one root folder.

    Args:
        settings: What the operator decided.
    """

    def __init__(self, settings: ServerSettings) -> None:
        """Check what can be checked without touching anything.

        Raises:
            LimbeckError: Settings that cannot work together, such as an address that strangers reach.
        """
        self._settings = settings
        self._tls = _tls(settings)
        for address in (settings.address, settings.metrics_address):
            if address:
                check_exposure(
                    address,
                    tls=self._tls is not None,
                    tokens=settings.tokens is not None,
                    insecure=settings.insecure,
                )
        self._packs = settings.find_packs()
        self._config = partial(worker_config, settings, self._packs)
        self._metrics = Metrics()
        self._tokens = (
            TokenFile(settings.tokens, on_problem=self._metrics.token_file_unusable) if settings.tokens else None
        )
        self._state = ServerState()
        self._tracing = OpenTelemetry() if settings.trace else Tracing()

    async def run(self) -> None:
        """Serve until SIGTERM, and end in order.

        Raises:
            LimbeckError: The root is in use, the ledger is damaged, a port is taken.
        """
        with ExitStack() as held:
            root = self._settings.root
            with disk_errors_explained(root, 0):
                root.mkdir(parents=True, exist_ok=True, mode=0o700)
            held.enter_context(RootLock(root))
            async with AsyncExitStack() as stack:
                await self._serve(root, stack)

    async def _serve(self, root: Path, stack: AsyncExitStack) -> None:
        settings, metrics, state = self._settings, self._metrics, self._state
        drain = Drain(settings.drain_seconds, state)
        drain.listen()
        store = ThreadedStore(open_ledger(root))
        stack.push_async_callback(store.close)
        stack.push_async_callback(asyncio.to_thread, self._tracing.close)
        blobs = Blobs(root / "blobs")
        # a plan measures engines, so nothing stands before it; a dataset's images come from strangers
        plans, checks_side = SideProcesses(nice=0), SideProcesses(memory_nbytes=_CHECK_NBYTES)
        roots = AllowedRoots([path.resolve() for path in settings.data_roots])
        if swept := await store.run(lambda ledger: sweep_sets(ledger, root / "sets")):
            _log.info("sets_swept count=%d", swept)
        socket = root / "run" / "workers.sock"
        pool = self._pool(WorkLedger(store, roots, root), root, socket)
        inner = await self._inner_server(pool, socket)
        stack.push_async_callback(inner.stop, 0)
        streams = Streams()
        metrics.streams_from(lambda: streams.num_open)
        outer = self._outer_server(streams)
        stack.push_async_callback(outer.stop, 0)
        health = Health(state)
        health.add_to(outer)
        rules = Rules(
            packs=self._packs,
            backends=settings.backends,
            place=roots.resolve,
            endpoints=settings.endpoints,
            budget_nbytes=settings.budget,
        )
        planning = SidePlanning(store, plans, self._config(settings.devices[0]), roots)
        self._add_work(outer, store, blobs, pool, rules, planning, metrics)
        checker, uploads = await self._add_datasets(outer, store, checks_side, roots, root)
        stack.push_async_callback(uploads.close)
        stack.push_async_callback(checker.close)
        self._add_engines(outer, pool)
        port = self._bind(outer)
        await stack.enter_async_context(health)
        checks = Checks(store, state, metrics, root=root, num_workers=lambda: len(pool.calls.call_workers()))
        await checks.look()
        for chore in (checks.run(), _collect(store, blobs)):
            stack.callback(asyncio.create_task(chore).cancel)
        await pool.start()
        await outer.start()
        await checker.resume()
        http = await self._serve_pages(stack, store, blobs, pool)
        state.leave(Condition.STARTING)
        _log.info("server_ready address=%s metrics_address=%s", _with_port(settings.address, port), http)
        await drain.begun()
        await drain.carry_out(stop_workers=lambda: pool.drain(0.9 * settings.drain_seconds), servers=[outer, inner])

    def _pool(self, ledger: WorkLedger, root: Path, socket: Path) -> WorkerPool:
        settings = self._settings
        policy = PoolPolicy(
            lease_images=settings.lease_images,
            turn_seconds=settings.turn_seconds,
            max_attempts=settings.max_attempts,
            jobs_per_worker=settings.jobs_per_worker,
            idle_seconds=settings.idle_seconds,
            hang_seconds=settings.hang_seconds,
        )
        return WorkerPool(
            ledger,
            root=root,
            socket=socket,
            devices=settings.devices,
            config=self._config,
            policy=policy,
            events=self._metrics,
            tracing=self._tracing,
        )

    async def _inner_server(self, pool: WorkerPool, socket: Path) -> grpc.aio.Server:
        """The server that workers reach."""
        socket.parent.mkdir(mode=0o700, exist_ok=True)
        socket.parent.chmod(0o700)
        socket.unlink(missing_ok=True)
        server = grpc.aio.server(options=NO_LIMIT)
        worker_pb2_grpc.add_WorkerServiceServicer_to_server(pool, server)
        try:
            server.add_insecure_port(f"unix:{socket}")
        except RuntimeError as error:
            raise ConfigError(
                f"cannot make the workers' socket {socket}: {error}; --root may be too long a path"
            ) from error
        await server.start()
        return server

    def _outer_server(self, streams: Streams) -> grpc.aio.Server:
        """The server that clients reach, without services; what comes first in the list is outermost."""
        settings, metrics = self._settings, self._metrics
        return grpc.aio.server(
            interceptors=[
                RpcMetrics(metrics, SCOPES),
                *self._tracing.interceptors(),
                DrainGate(self._state),
                Authorization(self._tokens, streams, on_refusal=metrics.refused),
                ServerFacts(self._state, settings.root),
                ErrorInterceptor(settings.root),
            ],
            options=ConnectionLimits(max_message_nbytes=settings.message_nbytes).grpc_options(),
        )

    def _add_work(
        self,
        server: grpc.aio.Server,
        store: ThreadedStore,
        blobs: Blobs,
        pool: WorkerPool,
        rules: Rules,
        planning: SidePlanning,
        metrics: Metrics,
    ) -> None:
        """Jobs, plans, sets, and what the server says of itself."""
        settings = self._settings
        jobs = Jobs(store, rules=rules, progress=PoolProgress(pool, metrics), wake=pool.wake)
        jobs_pb2_grpc.add_JobServiceServicer_to_server(jobs, server)
        plans_pb2_grpc.add_PlanServiceServicer_to_server(Plans(store, rules=rules, planning=planning), server)
        sets_pb2_grpc.add_DistilledSetServiceServicer_to_server(DistilledSets(store, blobs), server)
        information = ServerInformation(
            Limits(settings.message_nbytes, settings.upload_nbytes, settings.chunk_nbytes, settings.max_pixels),
            packs=sorted(self._packs),
            devices=lambda: [Device(one.device, one.worker, one.answers) for one in pool.workers()],
        )
        server_pb2_grpc.add_ServerServiceServicer_to_server(information, server)

    async def _add_datasets(
        self, server: grpc.aio.Server, store: ThreadedStore, side: SideProcesses, roots: AllowedRoots, root: Path
    ) -> tuple[Checker, Uploads]:
        settings = self._settings
        limits = DatasetLimits(
            upload_nbytes=settings.upload_nbytes, chunk_nbytes=settings.chunk_nbytes, max_pixels=settings.max_pixels
        )
        folders = DatasetFolders(root)
        if swept := await store.run(lambda ledger: sweep(ledger, folders)):
            _log.info("datasets_swept count=%d", swept)
        checker = Checker(store, folders, side, settings.data_roots, limits)
        uploads = Uploads(store, folders, checker, limits)
        datasets = Datasets(store, folders=folders, roots=roots, checker=checker, uploads=uploads, limits=limits)
        datasets_pb2_grpc.add_DatasetServiceServicer_to_server(datasets, server)
        return checker, uploads

    def _add_engines(self, server: grpc.aio.Server, pool: WorkerPool) -> None:
        """Packs and direct calls."""
        settings = self._settings
        catalog = Catalog({name: Pack.open(folder).manifest for name, folder in self._packs.items()})
        calls = EngineCalls(
            catalog,
            pool.calls,
            limits=CallLimits(max_message_nbytes=settings.message_nbytes, max_waiting_calls=settings.calls_waiting),
        )
        control = EngineControl(pool)
        packs_pb2_grpc.add_PackServiceServicer_to_server(Packs(self._packs, engines=control), server)
        inference_pb2_grpc.add_InferenceServiceServicer_to_server(InferenceService(calls), server)
        grpc_service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(KserveService(calls, control), server)

    async def _serve_pages(self, stack: AsyncExitStack, store: ThreadedStore, blobs: Blobs, pool: WorkerPool) -> str:
        """Metrics and the page; the address where they are, "" where none are asked for."""
        address = self._settings.metrics_address
        if not address:
            return ""
        view = LedgerView(store, blobs, lambda: [worker_row(one) for one in pool.workers()])
        pages = Pages(view, self._metrics, self._state, tokens=self._tokens, local=is_local(address))
        context = self._tls.http_context() if self._tls else None
        http = await stack.enter_async_context(HttpServer(pages, address, tls=context))
        return http.address

    def _bind(self, server: grpc.aio.Server) -> int:
        address = self._settings.address
        if self._settings.reflection:
            _describe(server)
        try:
            if self._tls is not None:
                return int(server.add_secure_port(address, self._tls.grpc_credentials()))
            return int(server.add_insecure_port(address))
        except RuntimeError as error:
            raise ConfigError(f"cannot listen on {address}: {error}; is another server there?") from error


def worker_config(settings: ServerSettings, packs: Mapping[str, Path], device: str) -> WorkerConfig:
    """How a worker works that runs on `device`."""
    threads = {"threads": settings.threads} if settings.threads else {}
    backend: dict[str, dict[str, Any]] = {"onnxruntime": dict(threads), "openvino": dict(threads)}
    cuda = device.startswith("cuda")
    if cuda:
        backend["onnxruntime"]["providers"] = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    return WorkerConfig(
        packs={name: str(folder) for name, folder in packs.items()},
        backend=backend,
        budget_nbytes=settings.budget,
        engines_nbytes=settings.engines_nbytes,
        bucket=settings.bucket or (16 if cuda else 1),
        call_delay_seconds=settings.call_delay_seconds,
        max_pixels=settings.max_pixels,
        log_format=settings.log_format,
    )


def _tls(settings: ServerSettings) -> ServerTls | None:
    if settings.tls_certificate is None and settings.tls_key is None:
        if settings.tls_client_ca is not None:
            raise ConfigError(
                "--tls-client-ca asks for clients' certificates: give --tls-certificate and --tls-key too"
            )
        return None
    if settings.tls_certificate is None or settings.tls_key is None:
        raise ConfigError("TLS needs both --tls-certificate and --tls-key")
    return ServerTls(certificate=settings.tls_certificate, key=settings.tls_key, client_ca=settings.tls_client_ca)


async def _collect(store: ThreadedStore, blobs: Blobs) -> None:
    """Again and again, remove files of jobs that were deleted, and what killed workers left."""
    while True:
        await store.run(lambda ledger: blobs.collect(ledger.refers, older_than_seconds=_FORGOTTEN_SECONDS))
        await asyncio.sleep(_FORGOTTEN_SECONDS / 2)


def _describe(server: grpc.aio.Server) -> None:
    """Let whoever may ask what services there are."""
    names = {method.split("/")[1] for method in SCOPES}
    reflection.enable_server_reflection(sorted(names), server)


def _with_port(address: str, port: int) -> str:
    """The address with the port that was given for 0; a Unix socket has none."""
    if address.startswith("unix"):
        return address
    return f"{address.rpartition(':')[0]}:{port}"
