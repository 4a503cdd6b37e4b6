"""`AsyncClient`: a server's jobs, datasets, sets and engines, for asyncio."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Any, Self, Unpack
from uuid import uuid4

from limbeck.errors import ConfigError
from limbeck_server.client import downloads, uploads
from limbeck_server.client.calls import SLOW_SECONDS, Calls
from limbeck_server.client.connection import Connection, Tls
from limbeck_server.client.engines import PAGE_SIZE, EngineClient
from limbeck_server.client.jobs import (
    DistillOptions,
    EvaluateOptions,
    Event,
    Job,
    Plan,
    event_from,
    job_error,
    job_from,
    plan_from,
    spec_of,
)
from limbeck_server.client.sets import (
    Dataset,
    DistilledImage,
    DistilledSet,
    dataset_from,
    image_from,
    name_of,
    set_from,
)
from limbeck_server.client.uploads import OnProgress
from limbeck_server.rpc import (
    datasets_pb2,
    datasets_pb2_grpc,
    jobs_pb2,
    jobs_pb2_grpc,
    plans_pb2,
    plans_pb2_grpc,
    sets_pb2,
    sets_pb2_grpc,
)
from limbeck_server.store.records import JobState
from limbeck_server.wire.jobs import state_value
from limbeck_server.wire.names import is_set_name


def silent(_stage: str, _done: int, _total: int) -> None:
    """Nobody wants to know."""


class AsyncClient(EngineClient):
    """A server. It connects at its first call, on the event loop of that call; use it by `async with`.

    A call is repeated while the server cannot be reached, until `timeout_seconds` have passed; what it makes is made
    once all the same. A stream goes on where it broke. A job, dataset or set is given as itself or by its name.

    Every call raises `ServerError` or one of its kinds, see `errors`.
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
        self.connection = (
            address
            if isinstance(address, Connection)
            else Connection(
                address=address,
                token=token,
                token_file=token_file,
                tls=tls,
                insecure=insecure,
                timeout_seconds=timeout_seconds,
            )
        )
        super().__init__(Calls(self.connection))

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.connection,))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection; the next call opens it again."""
        await self._calls.close()

    # jobs

    async def submit(
        self,
        method: str,
        dataset: Dataset | str,
        *,
        priority: int = 0,
        request_id: str | None = None,
        **options: Unpack[DistillOptions],
    ) -> Job:
        """Make a distillation job. When this returns, the job survives whatever happens to the server.

        Args:
            method: Its name, such as "d4m".
            dataset: The real images.
            priority: Higher goes first.
            request_id: The caller's own mark, to repeat this call after the caller's own end: a repeated one gives
                the first job. None: a new one.
            options: See `DistillOptions`.

        Raises:
            RequestError: An option cannot work; `violations` names it.
        """
        spec = spec_of("distill", {"method": method, "dataset": name_of(dataset), **options})
        return await self._create(priority, request_id, distill=spec)

    async def submit_evaluation(
        self,
        sets: Sequence[DistilledSet | str],
        test_dataset: Dataset | str,
        *,
        priority: int = 0,
        request_id: str | None = None,
        **options: Unpack[EvaluateOptions],
    ) -> Job:
        """Make a job that measures what distilled sets, which differ in their seed only, are worth; as `submit`."""
        names = [name_of(one) for one in sets]
        spec = spec_of("evaluate", {"distilled_sets": names, "test_dataset": name_of(test_dataset), **options})
        return await self._create(priority, request_id, evaluate=spec)

    async def plan(self, method: str, dataset: Dataset | str, **options: Unpack[DistillOptions]) -> Plan:
        """What such a job would take, without running it. A server that measures engines for it takes a minute or so.

        Raises:
            StateError: Nothing fits the budget; the message says what would.
        """
        spec = spec_of("distill", {"method": method, "dataset": name_of(dataset), **options})
        request = plans_pb2.PlanJobRequest(distill=spec)
        stub = self._calls.stub(plans_pb2_grpc.PlanServiceStub)
        return plan_from((await self._calls.unary(stub.PlanJob, request, answer_seconds=SLOW_SECONDS)).plan)

    async def job(self, job: Job | str) -> Job:
        """A job as it stands now."""
        return job_from((await self._calls.unary(self._jobs.GetJob, jobs_pb2.GetJobRequest(name=name_of(job)))).job)

    async def jobs(self, states: Iterable[JobState | str] = ()) -> AsyncIterator[Job]:
        """The caller's jobs, newest first; those in one of `states`, or all.

        Raises:
            ConfigError: One of `states` is none.
        """
        try:
            values = [state_value(JobState(state)) for state in states]
        except ValueError as error:
            raise ConfigError(f"{error}; there is {', '.join(JobState)}") from error
        request = jobs_pb2.ListJobsRequest(page_size=PAGE_SIZE, states=values)
        async for page in self._calls.pages(self._jobs.ListJobs, request):
            for message in page.jobs:
                yield job_from(message)

    async def cancel(self, job: Job | str) -> Job:
        """Ask for a job's end, which comes within a step."""
        answer = await self._calls.unary(self._jobs.CancelJob, jobs_pb2.CancelJobRequest(name=name_of(job)))
        return job_from(answer.job)

    async def delete(self, thing: Job | Dataset | DistilledSet | str) -> None:
        """Forget a final job, or remove a dataset or a distilled set.

        Raises:
            StateError: The job is not final, or an unfinished job reads the dataset.
        """
        name = name_of(thing)
        method, request = {
            "jobs": (self._jobs.DeleteJob, jobs_pb2.DeleteJobRequest),
            "datasets": (self._datasets.DeleteDataset, datasets_pb2.DeleteDatasetRequest),
            "distilledSets": (self._sets.DeleteDistilledSet, sets_pb2.DeleteDistilledSetRequest),
        }.get(name.partition("/")[0], (None, None))
        if request is None:
            raise ConfigError(f"{name!r} cannot be deleted; give a job, a dataset or a distilled set")
        await self._calls.delete(method, request(name=name))

    async def events(self, job: Job | str) -> AsyncIterator[Event]:
        """What has happened to a job until now, oldest first."""
        request = jobs_pb2.ListJobEventsRequest(parent=name_of(job), page_size=PAGE_SIZE)
        async for page in self._calls.pages(self._jobs.ListJobEvents, request):
            for message in page.events:
                yield event_from(message)

    async def watch(self, job: Job | str, after: int = 0) -> AsyncIterator[Event]:
        """What happens to a job until it is final, each event once and in order.

        Args:
            job: Which.
            after: The sequence number of the last event that the caller has.
        """
        request = jobs_pb2.WatchJobRequest(name=name_of(job), after_sequence=after)
        async for message in self._calls.stream(self._jobs.WatchJob, request):
            request.after_sequence = message.event.sequence or request.after_sequence
            yield event_from(message.event)

    async def wait(self, job: Job | str) -> Job:
        """Wait until a job has succeeded.

        Raises:
            JobError: It failed, or was cancelled.
        """
        ended = await self.job(job)
        if not ended.is_final:
            async for _ in self.watch(job, ended.sequence):
                pass
            ended = await self.job(job)
        if ended.state is not JobState.SUCCEEDED:
            raise job_error(ended)
        return ended

    async def images(self, job: Job | DistilledSet | str, after: int = 0) -> AsyncIterator[DistilledImage]:
        """The images of a job as they are finished, or those of a set, each once; ends after the last.

        Args:
            job: Which, or a set.
            after: The number of the last image that the caller has.

        Raises:
            StateError: After the images of a job that failed or was cancelled.
        """
        request = sets_pb2.StreamImagesRequest(name=name_of(job), after_number=after)
        async for message in self._calls.stream(self._sets.StreamImages, request):
            request.after_number = message.image.number
            yield image_from(message.image)

    # datasets

    async def register_dataset(self, path: str, *, display_name: str = "") -> Dataset:
        """Register a file or folder on the server's own disk, and wait until the server has looked through it.

        Raises:
            DataError: It cannot be used.
        """
        request = datasets_pb2.RegisterDatasetRequest(path=path, display_name=display_name, request_id=uuid4().hex)
        answer = await self._calls.unary(self._datasets.RegisterDataset, request)
        return await uploads.ready(self._calls, dataset_from(answer.dataset))

    async def upload_dataset(
        self, path: str | Path, *, display_name: str = "", on_progress: OnProgress = silent
    ) -> Dataset:
        """Bring a file, or a folder as a zip, to the server, and wait until it has looked through it.

        The same bytes are sent once: an upload that was broken off is completed, and one that is there is taken.

        Raises:
            DataError: It cannot be read here, or not be used there.
        """
        info = self._info or await self.server_info()
        path = Path(path)
        dataset = await uploads.upload(
            self._calls,
            path,
            existing=self.datasets(),
            display_name=display_name or path.resolve().name,
            chunk_nbytes=info.limits.chunk_nbytes,
            on_progress=on_progress,
        )
        return await uploads.ready(self._calls, dataset)

    async def dataset(self, dataset: Dataset | str) -> Dataset:
        """A dataset as it stands now."""
        request = datasets_pb2.GetDatasetRequest(name=name_of(dataset))
        return dataset_from((await self._calls.unary(self._datasets.GetDataset, request)).dataset)

    async def datasets(self) -> AsyncIterator[Dataset]:
        """The caller's datasets, newest first."""
        request = datasets_pb2.ListDatasetsRequest(page_size=PAGE_SIZE)
        async for page in self._calls.pages(self._datasets.ListDatasets, request):
            for message in page.datasets:
                yield dataset_from(message)

    # distilled sets

    async def distilled_set(self, distilled_set: DistilledSet | str) -> DistilledSet:
        """A distilled set."""
        request = sets_pb2.GetDistilledSetRequest(name=name_of(distilled_set))
        return set_from((await self._calls.unary(self._sets.GetDistilledSet, request)).distilled_set)

    async def distilled_sets(self) -> AsyncIterator[DistilledSet]:
        """The caller's distilled sets, newest first."""
        request = sets_pb2.ListDistilledSetsRequest(page_size=PAGE_SIZE)
        async for page in self._calls.pages(self._sets.ListDistilledSets, request):
            for message in page.distilled_sets:
                yield set_from(message)

    async def set_of(self, job: Job | str) -> str:
        """The name of the set that a job has made.

        Raises:
            JobError: It has made none.
        """
        found = await self.job(job)
        if found.distilled_set is None:
            raise job_error(found)
        return found.distilled_set

    async def download(
        self, distilled_set: DistilledSet | Job | str, out: str | Path, *, on_progress: OnProgress = silent
    ) -> Path:
        """Fetch a set, or that of a job, into the folder `out`: the same files as `limbeck distill` writes.

        Every file is held against its digest. What an earlier call left of the same set is continued.

        Raises:
            OutputError: `out` exists, another process fetches it, or the disk refuses.
            JobError: The job has made no set.
        """
        name = name_of(distilled_set)
        if not is_set_name(name):
            name = await self.set_of(name)
        return await downloads.download(self._calls, name, Path(out), on_progress=on_progress)

    async def _create(self, priority: int, request_id: str | None, **spec: Any) -> Job:
        request = jobs_pb2.CreateJobRequest(request_id=request_id or uuid4().hex, priority=priority, **spec)
        return job_from((await self._calls.unary(self._jobs.CreateJob, request)).job)

    @property
    def _jobs(self) -> Any:
        return self._calls.stub(jobs_pb2_grpc.JobServiceStub)

    @property
    def _datasets(self) -> Any:
        return self._calls.stub(datasets_pb2_grpc.DatasetServiceStub)

    @property
    def _sets(self) -> Any:
        return self._calls.stub(sets_pb2_grpc.DistilledSetServiceStub)
