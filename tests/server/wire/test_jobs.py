"""The ledger's records as messages."""

import pytest

pytest.importorskip("grpc", reason="the server extra is not installed")

from limbeck_server.rpc import datasets_pb2, jobs_pb2
from limbeck_server.store.records import Dataset, DatasetState, Failure, Job, JobEvent, JobState
from limbeck_server.wire.datasets import dataset_message
from limbeck_server.wire.jobs import event_message, job_message, state_of, state_value

ID = "0123456789abcdef0123456789abcdef"
PLAN = {
    "peak_nbytes": 2**35,
    "parts": {"engines": 2**35},
    "stages": {},
    "seconds": 0.25,
    "bucket": 4,
    "codec_bucket": 2,
    "tile": 16,
    "groups": [["trunk"]],
    "wave": 4,
}


def job(**changes):
    fields = {"state": JobState.RUNNING, "created_at": 1.5, "spec": {"method": "d4m", "dataset": f"datasets/{ID}"}}
    return Job(id=ID, owner="", kind="distill", **{**fields, **changes})


def test_every_state_has_a_value_and_comes_back():
    assert [state_of(state_value(state)) for state in JobState] == list(JobState)
    assert len(jobs_pb2.JobState.values()) == len(JobState) + 1


def test_every_state_of_a_dataset_has_a_value():
    for state in DatasetState:
        dataset = Dataset(id=ID, owner="", display_name="", path="", uploaded=True, state=state, created_at=0.0)
        name = datasets_pb2.DatasetState.Name(dataset_message(dataset).state)
        assert name == f"DATASET_STATE_{state.name}"


def test_where_the_server_keeps_an_upload_is_not_said():
    dataset = Dataset(
        id=ID, owner="", display_name="", path="/srv/x", uploaded=True, state=DatasetState.READY, created_at=0.0
    )
    assert dataset_message(dataset).path == ""


def test_times_that_have_not_come_are_not_set():
    message = job_message(job(started_at=None))
    assert message.create_time.ToMilliseconds() == 1500
    assert not message.HasField("start_time")
    assert not message.HasField("end_time")


def test_a_job_shows_its_plan_when_it_has_one():
    assert not job_message(job()).HasField("plan")
    plan = job_message(job(prepared={"plan": PLAN})).plan
    assert (plan.peak_nbytes, plan.tile, plan.engine_time.ToMilliseconds()) == (2**35, 16, 250)


def test_a_failed_job_says_why():
    failure = job_message(job(state=JobState.FAILED, failure=Failure("DATA_ERROR", "no images"))).failure
    assert (failure.reason, failure.message) == ("DATA_ERROR", "no images")


@pytest.mark.parametrize(
    ("kind", "detail", "field"),
    [
        ("state", {"state": "running", "waiting_for": "", "failure": None}, "state_change"),
        ("state", {"state": "failed", "waiting_for": "", "failure": {"reason": "A", "message": "b"}}, "state_change"),
        ("plan", PLAN, "plan"),
        ("unit", {"index": 1, "finished_units": 2, "num_units": 3, "images": [[1, 0], [1, 1]]}, "unit_finish"),
        ("retry", {"index": 1, "reason": "it hung"}, "unit_retry"),
        ("checkpoint", {"index": 1}, "unit_checkpoint"),
        ("out_of_memory", {"bucket": 4, "was": 8, "reason": "trunk"}, "out_of_memory"),
        ("skipped", {"files": ["a.png"]}, "note"),
    ],
)
def test_every_kind_of_event_has_its_message(kind, detail, field):
    message = event_message(JobEvent(ID, 7, 1.0, kind, detail))
    assert (message.sequence, message.WhichOneof("detail")) == (7, field)
