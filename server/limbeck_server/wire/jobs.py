"""Jobs and what happened to them: the ledger's records to messages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from limbeck_server.rpc import failure_pb2, jobs_pb2
from limbeck_server.store.records import Failure, Job, JobEvent, JobState
from limbeck_server.wire.names import job_name, set_name
from limbeck_server.wire.plans import plan_message
from limbeck_server.wire.specs import spec_message
from limbeck_server.wire.structs import struct_of
from limbeck_server.wire.times import timestamp_of


def job_message(job: Job) -> jobs_pb2.Job:
    """A job as a client sees it."""
    plan = (job.prepared or {}).get("plan")
    return jobs_pb2.Job(
        name=job_name(job.id),
        owner=job.owner,
        state=state_value(job.state),
        priority=job.priority,
        create_time=timestamp_of(job.created_at),
        start_time=timestamp_of(job.started_at),
        end_time=timestamp_of(job.finished_at),
        num_units=job.num_units,
        finished_units=job.finished_units,
        num_images=job.num_images,
        finished_images=job.finished_images,
        waiting_for=job.waiting_for,
        cancel_requested=job.cancel_requested,
        failure=failure_message(job.failure),
        plan=plan_message(plan) if plan else None,
        result=struct_of(job.result) if job.result is not None else None,
        distilled_set=set_name(job.distilled_set) if job.distilled_set else "",
        sequence=job.sequence,
        **{job.kind: spec_message(job.kind, job.spec)},
    )


def state_value(state: JobState) -> jobs_pb2.JobState:
    """A state's value on the wire."""
    value: jobs_pb2.JobState = jobs_pb2.JobState.Value(f"JOB_STATE_{state.name}")
    return value


def state_of(value: int) -> JobState | None:
    """The state of a value on the wire; None for one that says nothing."""
    if value == jobs_pb2.JOB_STATE_UNSPECIFIED or value not in jobs_pb2.JobState.values():
        return None
    name: str = jobs_pb2.JobState.Name(value)
    return JobState[name.removeprefix("JOB_STATE_")]


def failure_message(failure: Failure | None) -> failure_pb2.Failure | None:
    """Why something failed, if it did."""
    return failure_pb2.Failure(reason=failure.reason, message=failure.message) if failure else None


def event_message(event: JobEvent) -> jobs_pb2.JobEvent:
    """Something that happened to a job."""
    return jobs_pb2.JobEvent(sequence=event.sequence, time=timestamp_of(event.at), **_detail(event.kind, event.detail))


def progress_message(progress: Mapping[str, Any]) -> jobs_pb2.JobEvent:
    """What a job does now, with the keys of `jobs_pb2.Progress`; it is not kept."""
    return jobs_pb2.JobEvent(progress=jobs_pb2.Progress(**progress))


def _detail(kind: str, detail: Mapping[str, Any]) -> dict[str, Any]:
    make = _DETAILS.get(kind)
    return make(detail) if make else {"note": jobs_pb2.Note(kind=kind, detail=struct_of(detail))}


def _state_change(detail: Mapping[str, Any]) -> dict[str, Any]:
    change = jobs_pb2.StateChange(
        state=state_value(JobState(detail["state"])),
        waiting_for=detail["waiting_for"],
        failure=failure_message(Failure(**detail["failure"]) if detail["failure"] else None),
    )
    return {"state_change": change}


def _unit_finish(detail: Mapping[str, Any]) -> dict[str, Any]:
    finish = jobs_pb2.UnitFinish(
        index=detail["index"],
        finished_units=detail["finished_units"],
        num_units=detail["num_units"],
        images=[jobs_pb2.ImagePlace(label=label, position=position) for label, position in detail["images"]],
    )
    return {"unit_finish": finish}


_DETAILS: Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "state": _state_change,
    "plan": lambda detail: {"plan": plan_message(detail)},
    "unit": _unit_finish,
    "retry": lambda detail: {"unit_retry": jobs_pb2.UnitRetry(index=detail["index"], reason=detail["reason"])},
    "checkpoint": lambda detail: {"unit_checkpoint": jobs_pb2.UnitCheckpoint(index=detail["index"])},
    "out_of_memory": lambda detail: {
        "out_of_memory": jobs_pb2.OutOfMemory(bucket=detail["bucket"], was=detail["was"], reason=detail["reason"])
    },
}
