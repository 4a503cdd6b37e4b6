"""Jobs as a client sees them: what was asked, how far it is, what happened on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypedDict

from google.protobuf.timestamp_pb2 import Timestamp

from limbeck.errors import ConfigError
from limbeck_server.client.errors import JobError
from limbeck_server.rpc import failure_pb2, jobs_pb2, plans_pb2
from limbeck_server.store.records import FINAL, Failure, JobState
from limbeck_server.wire.jobs import state_of
from limbeck_server.wire.refusal import Code, Refusal
from limbeck_server.wire.specs import spec_json, spec_message
from limbeck_server.wire.structs import json_of


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a job runs inside its budget.

    Args:
        peak_nbytes: The most private memory at any time.
        parts: What makes the peak, in bytes.
        stages: The peak while each engine has its turn, in bytes, by role.
        engine_seconds: What the engines take of time.
        bucket: Samples that share a batch of the denoiser.
        codec_bucket: Images that share a call of the codec.
        tile: Height and width of the codec's tiles, in latent pixels; None if it works on whole images.
        groups: Roles of engines that are loaded together, one group after another.
        wave: Images that are denoised before the first of them is decoded.
        budget_nbytes: The limit that was asked; None is none.
        disk_nbytes: What the images take of disk at most; None if it is not known.
    """

    peak_nbytes: int
    parts: Mapping[str, int]
    stages: Mapping[str, int]
    engine_seconds: float
    bucket: int
    codec_bucket: int
    tile: int | None
    groups: tuple[tuple[str, ...], ...]
    wave: int
    budget_nbytes: int | None
    disk_nbytes: int | None


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job.

    Args:
        name: `jobs/…`.
        owner: The name of the token that made it.
        kind: "distill" or "evaluate".
        spec: What was asked, with every default that was taken.
        state: Where it stands.
        priority: Higher goes first.
        created_at, started_at, ended_at: By the server's clock; None if it has not come to that.
        num_units, finished_units: Units of work; 0 until its images are checked.
        num_images, finished_images: Of the set that is made.
        waiting_for: What keeps it from going on; "" if nothing does.
        cancel_requested: Its end was asked for and comes within a step.
        failure: Why it failed.
        plan: How it runs; None before it is planned.
        result: What it came to: measured memory, or an evaluation's figures.
        distilled_set: `distilledSets/…`, once there is one.
        sequence: Of its last event.
    """

    name: str
    owner: str
    kind: str
    spec: Mapping[str, Any]
    state: JobState
    priority: int
    created_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    num_units: int
    finished_units: int
    num_images: int
    finished_images: int
    waiting_for: str
    cancel_requested: bool
    failure: Failure | None
    plan: Plan | None
    result: Mapping[str, Any] | None
    distilled_set: str | None
    sequence: int

    @property
    def is_final(self) -> bool:
        """Whether nothing happens to it any more."""
        return self.state in FINAL


@dataclass(frozen=True)
class Event:
    """Something that happened to a job.

    Args:
        sequence: 1, 2, 3, … within the job, without a gap; 0 for a sign of progress, which the server does not keep.
        at: By the server's clock.
        kind: "state" (detail: state, waiting_for, failure), "plan" (plan), "unit" (index, finished_units, num_units,
            images: labels and positions), "retry" (index, reason), "checkpoint" (index), "out_of_memory" (bucket,
            was, reason), "progress" (stage, done, total, images_per_second, private_nbytes), or a worker's own word.
        detail: What belongs to the kind.
    """

    sequence: int
    at: datetime | None
    kind: str
    detail: Mapping[str, Any]


class Reading(TypedDict, total=False):
    """How a dataset's files are read, where they leave it open.

    `image_column` and `label_column` are of parquet; `normalization` and `class_names` of tensors; `split` of a file
    with several, such as "train".
    """

    image_column: str
    label_column: str
    normalization: str
    class_names: Sequence[str]
    split: str


class RoleBackend(TypedDict, total=False):
    """Another backend for one graph of the pack."""

    role: str
    backend: str
    settings: Mapping[str, Any]


class DistillOptions(TypedDict, total=False):
    """What a distillation may say beside method and dataset; the server's default holds for what is left out.

    `preset` is "default" or "faithful"; `settings` are the method's own and win over it. `ipc` is images per class;
    `seed` fixes them. `pack` is a pack's name. `budget_nbytes` is the most private memory of the worker. `bucket` is
    how many samples share a batch. `step_cache` is as "every=2"; `skip_unreadable` leaves broken images out.
    """

    preset: str
    settings: Mapping[str, Any]
    ipc: int
    seed: int
    pack: str
    budget_nbytes: int
    bucket: int
    backend: str
    backend_settings: Mapping[str, Any]
    role_backends: Sequence[RoleBackend]
    step_cache: str
    skip_unreadable: bool
    reading: Reading


class EvaluateOptions(TypedDict, total=False):
    """What an evaluation may say beside its sets and test images; the server's default holds for what is left out.

    The words are those of `limbeck evaluate`.
    """

    train_dataset: str
    protocol: str
    student: str
    seeds: int
    scale: float
    epochs: int
    checks: int
    image_size: int
    norm: str
    width: int
    teacher: str
    baselines: Sequence[str]
    pack: str
    heir_pack: str
    backend: str
    backend_settings: Mapping[str, Any]
    precision: str
    device: str
    train_reading: Reading
    test_reading: Reading


def spec_of(kind: str, fields: Mapping[str, Any]) -> Any:
    """The message of a spec with these fields.

    Raises:
        ConfigError: A field that there is not, or a value of another kind.
    """
    try:
        return spec_message(kind, {name: _plain(value) for name, value in fields.items()})
    except (AttributeError, TypeError, ValueError) as error:
        raise ConfigError(f"a job cannot be asked like this: {error}") from error


def job_error(job: Job) -> JobError:
    """Why a job has not made what was wanted of it."""
    reason, message = ("", f"{job.name} is {job.state}")
    if job.failure is not None:
        reason, message = job.failure.reason, f"{message}: {job.failure.message}"
    return JobError(Refusal(Code.FAILED_PRECONDITION, reason, message))


def job_from(message: jobs_pb2.Job) -> Job:
    """A job from its message."""
    kind = message.WhichOneof("spec") or ""
    return Job(
        name=message.name,
        owner=message.owner,
        kind=kind,
        spec=spec_json(getattr(message, kind), kind) if kind else {},
        state=_state(message.state),
        priority=message.priority,
        created_at=time_from(message, "create_time"),
        started_at=time_from(message, "start_time"),
        ended_at=time_from(message, "end_time"),
        num_units=message.num_units,
        finished_units=message.finished_units,
        num_images=message.num_images,
        finished_images=message.finished_images,
        waiting_for=message.waiting_for,
        cancel_requested=message.cancel_requested,
        failure=failure_from(message),
        plan=plan_from(message.plan) if message.HasField("plan") else None,
        result=json_of(message.result, "result") if message.HasField("result") else None,
        distilled_set=message.distilled_set or None,
        sequence=message.sequence,
    )


def plan_from(message: plans_pb2.Plan) -> Plan:
    """A plan from its message."""
    return Plan(
        peak_nbytes=message.peak_nbytes,
        parts=dict(message.parts),
        stages=dict(message.stages),
        engine_seconds=message.engine_time.ToNanoseconds() / 1e9,
        bucket=message.bucket,
        codec_bucket=message.codec_bucket,
        tile=message.tile if message.HasField("tile") else None,
        groups=tuple(tuple(group.roles) for group in message.groups),
        wave=message.wave,
        budget_nbytes=message.budget_nbytes or None,
        disk_nbytes=message.disk_nbytes or None,
    )


def event_from(message: jobs_pb2.JobEvent) -> Event:
    """An event from its message; one of a kind that this client does not know yet has no detail."""
    field = message.WhichOneof("detail") or ""
    if field == "note":
        kind, detail = message.note.kind, json_of(message.note.detail, "detail")
    elif field in _DETAILS:
        kind, read = _DETAILS[field]
        detail = read(getattr(message, field))
    else:
        kind, detail = field or "unknown", {}
    return Event(message.sequence, time_from(message, "time"), kind, detail)


def failure_from(message: Any) -> Failure | None:
    """What a message says in its field `failure`."""
    failure: failure_pb2.Failure = message.failure
    return Failure(failure.reason, failure.message) if message.HasField("failure") else None


def time_from(message: Any, field: str) -> datetime | None:
    """What a message says in a field of time."""
    stamp: Timestamp = getattr(message, field)
    return stamp.ToDatetime(tzinfo=UTC) if message.HasField(field) else None


def _plain(value: Any) -> Any:
    """Any mapping and sequence as JSON has them."""
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return value


def _state(value: int) -> JobState:
    # One that this client does not know is of a newer server, and not final as far as it can tell.
    return state_of(value) or JobState.RUNNING


def _state_change(change: jobs_pb2.StateChange) -> dict[str, Any]:
    return {"state": _state(change.state), "waiting_for": change.waiting_for, "failure": failure_from(change)}


def _unit(unit: jobs_pb2.UnitFinish) -> dict[str, Any]:
    return {
        "index": unit.index,
        "finished_units": unit.finished_units,
        "num_units": unit.num_units,
        "images": [(image.label, image.position) for image in unit.images],
    }


def _fields(*names: str) -> Callable[[Any], dict[str, Any]]:
    return lambda message: {name: getattr(message, name) for name in names}


_DETAILS: Mapping[str, tuple[str, Callable[[Any], dict[str, Any]]]] = {
    "state_change": ("state", _state_change),
    "plan": ("plan", lambda plan: {"plan": plan_from(plan)}),
    "unit_finish": ("unit", _unit),
    "unit_retry": ("retry", _fields("index", "reason")),
    "unit_checkpoint": ("checkpoint", _fields("index")),
    "out_of_memory": ("out_of_memory", _fields("bucket", "was", "reason")),
    "progress": ("progress", _fields("stage", "done", "total", "images_per_second", "private_nbytes")),
}
