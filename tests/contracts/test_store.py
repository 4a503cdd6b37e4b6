"""What every store owes the server, run on each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from limbeck.errors import ConfigError
from limbeck_server.store.base import Store
from limbeck_server.store.errors import (
    ImageTakenError,
    InUseError,
    LeaseLostError,
    NotFinishedError,
    NotFoundError,
    QuotaError,
    RequestConflictError,
)
from limbeck_server.store.records import (
    PREPARE,
    PUBLISH,
    DatasetState,
    Failure,
    FinishedUnit,
    Job,
    JobState,
    UnitSpec,
    Usage,
)
from support.store_machine import StoreMachine
from support.stores import STORES, finish, image, lease, new_job, publish, running_job, succeeded_job, upload

NOBODY = "0" * 32


@pytest.fixture(params=STORES)
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Store]:
    """Opens the one store of this test, once more each time."""
    return lambda: STORES[request.param](tmp_path)


@pytest.fixture
def store(opened: Callable[[], Store]) -> Iterator[Store]:
    store = opened()
    yield store
    store.close()


def kinds(store: Store, job: Job) -> list[str]:
    return [event.kind for event in store.events(job.id)]


def states(store: Store, job: Job) -> list[str]:
    return [event.detail["state"] for event in store.events(job.id) if event.kind == "state"]


class TestCreatingJobs:
    def test_a_new_job_is_pending_and_says_what_was_asked(self, store: Store) -> None:
        job, created = store.create_job(owner="ada", request_id="r", kind="distill", spec={"ipc": 1}, priority=2)
        assert created
        assert (job.owner, job.kind, job.spec, job.state, job.priority) == (
            "ada",
            "distill",
            {"ipc": 1},
            JobState.PENDING,
            2,
        )

    def test_a_job_is_there_when_the_store_is_opened_again(self, opened: Callable[[], Store]) -> None:
        first = opened()
        job = new_job(first)
        first.close()
        second = opened()
        assert second.job(job.id) == job
        second.close()

    def test_a_repeated_request_gives_the_first_job(self, store: Store) -> None:
        job, _ = store.create_job(owner="ada", request_id="r", kind="distill", spec={"a": 1, "b": [2]})
        again, created = store.create_job(owner="ada", request_id="r", kind="distill", spec={"b": (2,), "a": 1})
        assert (again, created) == (job, False)

    def test_a_repeated_request_with_another_spec_is_refused(self, store: Store) -> None:
        store.create_job(owner="ada", request_id="r", kind="distill", spec={"ipc": 1})
        with pytest.raises(RequestConflictError, match="'r' was used before"):
            store.create_job(owner="ada", request_id="r", kind="distill", spec={"ipc": 2})

    def test_owners_do_not_share_request_ids(self, store: Store) -> None:
        assert new_job(store, request_id="r", owner="ada").id != new_job(store, request_id="r", owner="ben").id

    def test_requests_without_an_id_are_never_repetitions(self, store: Store) -> None:
        assert new_job(store, request_id="").id != new_job(store, request_id="").id

    def test_an_owner_has_no_more_unfinished_jobs_than_the_quota(self, store: Store) -> None:
        new_job(store, max_unfinished=1)
        with pytest.raises(QuotaError, match="1 jobs of ada are not finished, and 1 may be"):
            new_job(store, max_unfinished=1)

    def test_others_jobs_do_not_count_for_a_quota(self, store: Store) -> None:
        new_job(store, owner="ben")
        assert new_job(store, owner="ada", max_unfinished=1)

    def test_a_final_job_does_not_count_for_a_quota(self, store: Store) -> None:
        store.request_cancel(new_job(store).id)
        assert new_job(store, max_unfinished=1)

    def test_a_repeated_request_is_answered_when_the_quota_is_used_up(self, store: Store) -> None:
        job = new_job(store, request_id="r", max_unfinished=1)
        assert new_job(store, request_id="r", max_unfinished=1) == job

    def test_a_failure_that_names_a_file_which_is_not_unicode_is_kept(self, store: Store) -> None:
        job = running_job(store)
        store.fail(lease(store).token, Failure("DATA_ERROR", "caf\udce9.png cannot be read"))
        assert store.job(job.id).failure == Failure("DATA_ERROR", r"caf\udce9.png cannot be read")

    def test_the_name_of_a_file_that_is_not_unicode_comes_back_as_it_was(self, store: Store) -> None:
        job = new_job(store)
        skipped = {"skipped": ["caf\udce9.png"]}
        store.prepared(lease(store).token, skipped, [], num_images=0)
        assert store.job(job.id).prepared == skipped

    def test_text_of_any_language_comes_back_as_it_was(self, store: Store) -> None:
        spec = {"name": "Ärger \u202e<script>\x00 日本語 '\"; DROP TABLE job; --"}
        assert store.job(new_job(store, spec=spec).id).spec == spec


class TestListingJobs:
    def test_pages_hold_every_job_once_and_the_newest_first(self, store: Store) -> None:
        made = [new_job(store).id for _ in range(5)]
        found, after = [], ""
        while True:
            page, after = store.jobs(limit=2, after=after)
            found += [job.id for job in page]
            if not after:
                break
        assert found == made[::-1]

    def test_a_job_that_comes_between_two_pages_moves_nothing(self, store: Store) -> None:
        first, second, third = (new_job(store).id for _ in range(3))
        page, after = store.jobs(limit=1)
        new_job(store)
        rest, _ = store.jobs(limit=10, after=after)
        assert [job.id for job in [*page, *rest]] == [third, second, first]

    def test_a_job_that_is_deleted_between_two_pages_hides_no_other(self, store: Store) -> None:
        first, second = (store.request_cancel(new_job(store).id).id for _ in range(2))
        _, after = store.jobs(limit=1)
        store.delete_job(second)
        assert [job.id for job in store.jobs(after=after)[0]] == [first]

    def test_a_list_has_the_owners_jobs_alone(self, store: Store) -> None:
        mine = new_job(store, owner="ada")
        new_job(store, owner="ben")
        assert store.jobs(owner="ada")[0] == [mine]

    def test_a_list_has_the_states_that_were_asked(self, store: Store) -> None:
        new_job(store)
        cancelled = store.request_cancel(new_job(store).id)
        assert store.jobs(states=[JobState.CANCELLED, JobState.FAILED])[0] == [cancelled]

    @pytest.mark.parametrize("token", ["nonsense", "Zm9v", "é", "a" * 5000])
    def test_a_page_token_that_no_list_gave_is_refused(self, store: Store, token: str) -> None:
        with pytest.raises(ConfigError, match="is no page token of this list"):
            store.jobs(after=token)

    def test_a_page_token_of_another_filter_is_refused(self, store: Store) -> None:
        for _ in range(2):
            new_job(store)
        _, after = store.jobs(owner="ada", limit=1)
        with pytest.raises(ConfigError, match="is no page token of this list"):
            store.jobs(owner="ben", after=after)

    def test_a_page_token_of_another_list_is_refused(self, store: Store) -> None:
        for _ in range(2):
            new_job(store)
        _, after = store.jobs(limit=1)
        with pytest.raises(ConfigError, match="is no page token of this list"):
            store.datasets(after=after)

    def test_counts_name_every_state(self, store: Store) -> None:
        new_job(store)
        assert store.counts() == {**dict.fromkeys(JobState, 0), JobState.PENDING: 1}


class TestLeasing:
    def test_nothing_to_do_gives_no_lease(self, store: Store) -> None:
        assert store.lease("w0", max_images=1) is None

    def test_a_new_job_is_prepared_first(self, store: Store) -> None:
        job = new_job(store)
        held = lease(store)
        assert [unit.index for unit in held.units] == [PREPARE]
        assert store.job(job.id).state is JobState.PREPARING

    def test_nothing_else_is_leased_while_a_job_is_prepared(self, store: Store) -> None:
        new_job(store)
        lease(store)
        assert store.lease("w1", max_images=1) is None

    def test_units_are_leased_in_order_until_they_have_so_many_images(self, store: Store) -> None:
        running_job(store, units=5, images=2)
        held = [lease(store, max_images=count) for count in (1, 4, 100)]
        assert [[unit.index for unit in one.units] for one in held] == [[0], [1, 2], [3, 4]]

    def test_a_leased_unit_says_its_classes(self, store: Store) -> None:
        running_job(store)
        assert lease(store).units[0].class_ids == (0,)

    def test_the_higher_priority_goes_first(self, store: Store) -> None:
        running_job(store, priority=0)
        urgent = running_job(store, priority=1)
        assert [lease(store).job.id for _ in range(3)] == [urgent.id] * 3

    def test_jobs_of_one_priority_take_turns(self, store: Store) -> None:
        first, second = running_job(store, units=4), running_job(store, units=4)
        served = [lease(store).job.id for _ in range(4)]
        assert served == [first.id, second.id, first.id, second.id]

    def test_a_newcomer_is_served_next(self, store: Store) -> None:
        old = running_job(store, units=9)
        lease(store)
        newcomer = new_job(store)
        assert [lease(store).job.id for _ in range(2)] == [newcomer.id, old.id]

    def test_an_excluded_job_is_passed_over(self, store: Store) -> None:
        first, second = running_job(store), running_job(store)
        assert lease(store, exclude=[first.id]).job.id == second.id

    def test_a_job_that_is_to_end_gets_no_more_leases(self, store: Store) -> None:
        job = running_job(store)
        lease(store)
        store.request_cancel(job.id)
        assert store.lease("w1", max_images=1) is None

    def test_every_lease_that_is_held_is_known(self, store: Store) -> None:
        running_job(store)
        held = [lease(store, "w0"), lease(store, "w1")]
        assert [(one.token, one.worker, one.units) for one in store.leases()] == [
            (one.token, one.worker, one.units) for one in held
        ]

    def test_a_freed_unit_is_leased_again(self, store: Store) -> None:
        running_job(store, units=1)
        store.free(lease(store).token)
        assert [unit.index for unit in lease(store).units] == [0]

    def test_a_checkpoint_is_handed_to_the_next_holder(self, store: Store) -> None:
        running_job(store, units=1)
        held = lease(store)
        store.keep_checkpoint(held.token, 0, "c" * 64)
        store.free(held.token)
        assert lease(store).units[0].checkpoint == "c" * 64

    def test_freeing_all_leases_blames_nobody(self, store: Store) -> None:
        job = running_job(store, units=1)
        for _ in range(5):
            lease(store)
            assert store.free_all() == 1
        assert "retry" not in kinds(store, job)
        assert store.leases() == []


class TestPreparing:
    def test_a_prepared_job_runs_and_has_its_units(self, store: Store) -> None:
        job = running_job(store, units=3, images=2)
        assert (job.state, job.num_units, job.num_images, job.prepared) == (JobState.RUNNING, 3, 6, {"header": {}})

    def test_a_plan_is_an_event(self, store: Store) -> None:
        job = new_job(store)
        store.prepared(lease(store).token, {"plan": {"peak_nbytes": 5}}, [UnitSpec(0, (0,), 1)], num_images=1)
        assert [event.detail for event in store.events(job.id) if event.kind == "plan"] == [{"peak_nbytes": 5}]

    def test_a_job_is_prepared_once(self, store: Store) -> None:
        new_job(store)
        held = lease(store)
        store.prepared(held.token, {}, [UnitSpec(0, (0,), 1)], num_images=1)
        with pytest.raises(LeaseLostError, match="does not hold unit -1"):
            store.prepared(held.token, {}, [UnitSpec(0, (0,), 1)], num_images=1)

    def test_a_stale_token_prepares_nothing(self, store: Store) -> None:
        job = new_job(store)
        held = lease(store)
        store.free(held.token)
        with pytest.raises(LeaseLostError, match="was freed"):
            store.prepared(held.token, {}, [UnitSpec(0, (0,), 1)], num_images=1)
        assert store.job(job.id).state is JobState.PREPARING


class TestFinishing:
    def test_a_finished_units_images_exist(self, store: Store) -> None:
        job = running_job(store, units=2, images=2)
        finish(store, lease(store), images=2)
        assert store.images(job.id) == [(1, image(0, 0)), (2, image(0, 1))]

    def test_progress_is_counted(self, store: Store) -> None:
        running_job(store, units=2, images=2)
        job = finish(store, lease(store), images=2)
        assert (job.finished_units, job.num_units, job.finished_images, job.num_images) == (1, 2, 2, 4)

    def test_images_are_numbered_in_the_order_in_which_they_were_finished(self, store: Store) -> None:
        job = running_job(store, units=2)
        first, second = lease(store), lease(store)
        finish(store, second)
        finish(store, first)
        assert [(number, one.label) for number, one in store.images(job.id)] == [(1, 1), (2, 0)]

    def test_images_are_read_from_any_number_on(self, store: Store) -> None:
        job = running_job(store, units=5)
        finish(store, lease(store, max_images=5))
        assert [number for number, _ in store.images(job.id, after=2, limit=2)] == [3, 4]

    def test_a_unit_is_finished_once_under_a_live_token(self, store: Store) -> None:
        running_job(store)
        held = lease(store)
        store.finish_unit(held.token, FinishedUnit(0, (image(0),)))
        with pytest.raises(LeaseLostError, match="does not hold unit 0"):
            store.finish_unit(held.token, FinishedUnit(0, (image(0),)))

    def test_a_freed_token_finishes_nothing(self, store: Store) -> None:
        job = running_job(store)
        held = lease(store)
        store.free(held.token)
        with pytest.raises(LeaseLostError, match="was freed"):
            store.finish_unit(held.token, FinishedUnit(0, (image(0),)))
        assert store.images(job.id) == []

    def test_a_token_finishes_only_what_it_holds(self, store: Store) -> None:
        running_job(store)
        held = lease(store)
        with pytest.raises(LeaseLostError, match="does not hold unit 2"):
            store.finish_unit(held.token, FinishedUnit(2, (image(2),)))

    def test_an_image_that_another_unit_made_is_refused(self, store: Store) -> None:
        running_job(store)
        held = lease(store, max_images=2)
        store.finish_unit(held.token, FinishedUnit(0, (image(0),)))
        with pytest.raises(ImageTakenError, match="brings image 0 of class 0, which unit 0 has made"):
            store.finish_unit(held.token, FinishedUnit(1, (image(1), image(0))))

    def test_a_refused_unit_leaves_nothing_behind(self, store: Store) -> None:
        job = running_job(store)
        held = lease(store, max_images=2)
        before = store.finish_unit(held.token, FinishedUnit(0, (image(0),)))
        with pytest.raises(ImageTakenError):
            store.finish_unit(held.token, FinishedUnit(1, (image(1), image(0))))
        assert (store.job(job.id), len(store.images(job.id))) == (before, 1)

    def test_a_finished_unit_is_not_leased_again(self, store: Store) -> None:
        running_job(store, units=2)
        held = lease(store, max_images=2)
        store.finish_unit(held.token, FinishedUnit(0, (image(0),)))
        store.free(held.token)
        assert [unit.index for unit in lease(store, max_images=9).units] == [1]

    def test_finished_units_come_back_with_all_that_they_brought(self, store: Store) -> None:
        job = running_job(store, units=2, images=2)
        made = [FinishedUnit(index, (image(index), image(index, 1)), "a" * 64, {"x": index}) for index in (1, 0)]
        held = lease(store, max_images=9)
        for unit in made:
            store.finish_unit(held.token, unit)
        assert store.finished_units(job.id) == made[::-1]

    def test_the_last_unit_makes_publishing_due(self, store: Store) -> None:
        running_job(store, units=1)
        job = finish(store, lease(store))
        assert job.state is JobState.PUBLISHING
        assert [unit.index for unit in lease(store).units] == [PUBLISH]

    def test_a_published_job_has_succeeded(self, store: Store) -> None:
        job = succeeded_job(store)
        assert (job.state, job.result, job.distilled_set) == (JobState.SUCCEEDED, {"peak_nbytes": 7}, job.id[::-1])

    def test_a_job_is_published_once(self, store: Store) -> None:
        job = running_job(store, units=1)
        finish(store, lease(store))
        stale = lease(store)
        store.free(stale.token)
        record = store.distilled_set(publish(store, job).distilled_set or "")
        with pytest.raises(LeaseLostError):
            store.published(stale.token, record, {})

    def test_an_evaluation_ends_with_its_units_results(self, store: Store) -> None:
        running_job(store, units=2, kind="evaluate", images=0)
        held = lease(store, max_images=9)
        for index in (1, 0):
            job = store.finish_unit(held.token, FinishedUnit(index, result={"accuracy": index}))
        assert job.state is JobState.SUCCEEDED
        assert job.result == {"units": [{"accuracy": 0}, {"accuracy": 1}]}

    def test_a_job_goes_through_its_states_in_order(self, store: Store) -> None:
        assert states(store, succeeded_job(store)) == ["pending", "preparing", "running", "publishing", "succeeded"]


class TestRetrying:
    def test_a_unit_that_fails_often_fails_the_job(self, store: Store) -> None:
        running_job(store, units=1)
        ends = [store.free(lease(store).token, retry=f"fault {n}", max_attempts=3) for n in range(3)]
        assert [job.state for job in ends] == [JobState.RUNNING, JobState.RUNNING, JobState.FAILED]
        assert ends[-1].failure is not None
        assert ends[-1].failure.reason == "WORKER_FAULT"
        assert "unit 0 failed 3 times" in ends[-1].failure.message
        assert ends[-1].failure.message.endswith("the last time: fault 2")

    def test_a_job_that_comes_on_may_lose_its_workers_as_often_as_it_likes(self, store: Store) -> None:
        running_job(store, units=1)
        for number in range(10):
            held = lease(store)
            if number % 2:
                store.keep_checkpoint(held.token, 0, f"{number:064x}")
            assert store.free(held.token, retry="fault", max_attempts=3).state is JobState.RUNNING

    def test_a_finished_unit_forgives_the_others(self, store: Store) -> None:
        running_job(store, units=3)
        for number in range(3):
            held = lease(store, max_images=3)
            store.finish_unit(held.token, FinishedUnit(number, (image(number),)))
            store.free(held.token, retry="fault", max_attempts=2)
        assert lease(store).units[0].index == PUBLISH

    def test_each_retry_is_an_event(self, store: Store) -> None:
        job = running_job(store, units=1)
        store.free(lease(store).token, retry="out of memory")
        assert store.events(job.id)[-1].detail == {"index": 0, "reason": "out of memory"}

    def test_a_finished_unit_of_a_failed_lease_is_not_blamed(self, store: Store) -> None:
        job = running_job(store, units=2)
        held = lease(store, max_images=2)
        store.finish_unit(held.token, FinishedUnit(0, (image(0),)))
        store.free(held.token, retry="fault")
        assert [event.detail["index"] for event in store.events(job.id) if event.kind == "retry"] == [1]

    def test_preparing_that_fails_often_fails_the_job(self, store: Store) -> None:
        new_job(store)
        assert store.free(lease(store).token, retry="fault", max_attempts=1).state is JobState.FAILED

    def test_a_job_that_fails_keeps_its_failure(self, store: Store) -> None:
        job = running_job(store)
        store.fail(lease(store).token, Failure("DATA_ERROR", "class 3 is empty"))
        failed = store.job(job.id)
        assert (failed.state, failed.failure) == (JobState.FAILED, Failure("DATA_ERROR", "class 3 is empty"))

    def test_a_failed_job_loses_its_other_leases(self, store: Store) -> None:
        running_job(store)
        first, second = lease(store), lease(store)
        store.fail(first.token, Failure("DATA_ERROR", "class 3 is empty"))
        with pytest.raises(LeaseLostError):
            store.finish_unit(second.token, FinishedUnit(1, (image(1),)))

    def test_a_job_that_has_succeeded_does_not_fail(self, store: Store) -> None:
        job = running_job(store, units=1, kind="evaluate")
        held = lease(store)
        store.finish_unit(held.token, FinishedUnit(0, result={}))
        assert store.fail(held.token, Failure("WORKER_FAULT", "died")).state is JobState.SUCCEEDED
        assert store.job(job.id).failure is None


class TestCancelling:
    def test_a_job_without_leases_ends_at_once(self, store: Store) -> None:
        assert store.request_cancel(running_job(store).id).state is JobState.CANCELLED

    def test_a_leased_job_ends_with_its_last_lease(self, store: Store) -> None:
        job = running_job(store)
        first, second = lease(store), lease(store)
        asked = store.request_cancel(job.id)
        ends = [store.free(one.token) for one in (first, second)]
        assert (asked.state, asked.cancel_requested) == (JobState.RUNNING, True)
        assert [end.state for end in ends] == [JobState.RUNNING, JobState.CANCELLED]

    def test_a_job_whose_server_died_is_cancelled_by_the_next(self, store: Store) -> None:
        job = running_job(store)
        lease(store)
        store.request_cancel(job.id)
        store.free_all()
        assert store.job(job.id).state is JobState.CANCELLED

    def test_what_is_finished_meanwhile_is_taken(self, store: Store) -> None:
        job = running_job(store, units=1)
        held = lease(store)
        store.request_cancel(job.id)
        finish(store, held)
        assert (store.job(job.id).state, len(store.images(job.id))) == (JobState.CANCELLED, 1)

    def test_a_final_job_stays_as_it_is(self, store: Store) -> None:
        job = succeeded_job(store)
        assert store.request_cancel(job.id) == job

    def test_asking_twice_is_once(self, store: Store) -> None:
        job = running_job(store)
        lease(store)
        assert store.request_cancel(job.id) == store.request_cancel(job.id)


class TestEvents:
    def test_sequences_have_no_gap(self, store: Store) -> None:
        job = succeeded_job(store)
        assert [event.sequence for event in store.events(job.id)] == list(range(1, job.sequence + 1))

    def test_events_are_read_from_any_sequence_on(self, store: Store) -> None:
        job = succeeded_job(store)
        assert [event.sequence for event in store.events(job.id, after=2, limit=2)] == [3, 4]

    def test_a_finished_unit_is_an_event_that_names_its_images(self, store: Store) -> None:
        job = running_job(store, units=2, images=2)
        finish(store, lease(store), images=2)
        detail = {"index": 0, "finished_units": 1, "num_units": 2, "images": [[0, 0], [0, 1]]}
        assert store.events(job.id)[-1].detail == detail

    def test_a_kept_checkpoint_is_an_event(self, store: Store) -> None:
        job = running_job(store)
        store.keep_checkpoint(lease(store).token, 0, "c" * 64)
        assert store.events(job.id)[-1].detail == {"index": 0}

    def test_an_event_from_outside_is_kept(self, store: Store) -> None:
        job = new_job(store)
        added = store.add_event(job.id, "out_of_memory", {"bucket": 4, "was": 8})
        assert store.events(job.id)[-1] == added

    def test_what_a_job_waits_for_is_an_event_once(self, store: Store) -> None:
        job = running_job(store)
        for _ in range(2):
            store.set_waiting(job.id, "DISK_FULL")
        assert [event.detail.get("waiting_for") for event in store.events(job.id)][-2:] == ["", "DISK_FULL"]

    def test_a_listener_hears_of_each_call_that_adds_events(self, store: Store) -> None:
        heard: list[str] = []
        store.on_change(heard.append)
        job = new_job(store)
        store.lease("w0", max_images=1)
        assert heard == [job.id, job.id]

    def test_a_listener_hears_nothing_of_a_call_that_was_refused(self, store: Store) -> None:
        new_job(store, request_id="r")
        heard: list[str] = []
        store.on_change(heard.append)
        with pytest.raises(RequestConflictError):
            new_job(store, request_id="r", spec={"other": 1})
        assert heard == []


class TestDeleting:
    def test_a_job_that_is_not_final_is_not_deleted(self, store: Store) -> None:
        with pytest.raises(NotFinishedError, match="is running; cancel it"):
            store.delete_job(running_job(store).id)

    def test_a_deleted_job_is_gone_with_all_that_it_had(self, store: Store) -> None:
        job = succeeded_job(store)
        store.delete_job(job.id)
        for ask in (store.job, store.events, store.images, store.finished_units, store.delete_job):
            with pytest.raises(NotFoundError, match=f"there is no job '{job.id}'"):
                ask(job.id)

    def test_a_deleted_jobs_set_stays(self, store: Store) -> None:
        job = succeeded_job(store)
        store.delete_job(job.id)
        assert store.distilled_set(job.distilled_set or "").job == job.id

    def test_a_deleted_set_is_gone_and_its_job_says_so(self, store: Store) -> None:
        job = succeeded_job(store)
        store.delete_distilled_set(job.distilled_set or "")
        assert store.job(job.id).distilled_set is None

    def test_a_set_that_an_unfinished_job_reads_is_not_deleted(self, store: Store) -> None:
        made = succeeded_job(store).distilled_set or ""
        reader = new_job(store, kind="evaluate", spec={"distilled_sets": [f"distilledSets/{made}"]})
        with pytest.raises(InUseError, match=f"is read by job {reader.id}"):
            store.delete_distilled_set(made)

    def test_a_set_is_listed_without_its_files(self, store: Store) -> None:
        whole = store.distilled_set(succeeded_job(store).distilled_set or "")
        assert whole.files == {"manifest.json": ("f" * 64, 10)}
        assert store.distilled_sets(owner="ada") == ([whole.summary()], "")


class TestReferences:
    def test_an_image_refers_to_its_file_until_its_job_is_deleted(self, store: Store) -> None:
        job = succeeded_job(store)
        assert store.refers(image(0).digest)
        store.delete_job(job.id)
        assert not store.refers(image(0).digest)

    def test_a_unit_refers_to_its_checkpoint_until_it_is_finished(self, store: Store) -> None:
        running_job(store)
        held = lease(store)
        store.keep_checkpoint(held.token, 0, "c" * 64)
        assert store.refers("c" * 64)
        store.finish_unit(held.token, FinishedUnit(0, (image(0),)))
        assert not store.refers("c" * 64)

    def test_a_finished_unit_refers_to_its_arrays(self, store: Store) -> None:
        running_job(store)
        store.finish_unit(lease(store).token, FinishedUnit(0, (), arrays="a" * 64))
        assert store.refers("a" * 64)


class TestDatasets:
    def test_a_dataset_comes_back_as_it_was_made(self, store: Store) -> None:
        dataset, created = store.create_dataset(owner="ada", request_id="r", dataset=upload())
        assert created
        assert store.dataset(dataset.id) == dataset == upload()

    def test_a_repeated_request_gives_the_first_dataset(self, store: Store) -> None:
        first, _ = store.create_dataset(owner="ada", request_id="r", dataset=upload())
        again, created = store.create_dataset(owner="ada", request_id="r", dataset=upload(id="e" * 32))
        assert (again, created) == (first, False)

    def test_a_repeated_request_for_another_dataset_is_refused(self, store: Store) -> None:
        store.create_dataset(owner="ada", request_id="r", dataset=upload("a"))
        with pytest.raises(RequestConflictError, match="'r' was used before"):
            store.create_dataset(owner="ada", request_id="r", dataset=upload("b", id="e" * 32))

    def test_uploads_stay_within_the_quota(self, store: Store) -> None:
        store.create_dataset(owner="ada", request_id="", dataset=upload(nbytes=6), max_nbytes=10)
        with pytest.raises(QuotaError, match="take 6 of 10 bytes"):
            store.create_dataset(owner="ada", request_id="", dataset=upload(id="e" * 32, nbytes=5), max_nbytes=10)

    def test_a_registered_folder_takes_nothing_of_the_quota(self, store: Store) -> None:
        folder = replace(upload(nbytes=100), uploaded=False, state=DatasetState.READY)
        store.create_dataset(owner="ada", request_id="", dataset=folder, max_nbytes=10)
        assert store.usage("ada") == Usage(0, 0)

    def test_usage_is_what_the_owner_has(self, store: Store) -> None:
        new_job(store)
        store.create_dataset(owner="ada", request_id="", dataset=upload(nbytes=6))
        assert (store.usage("ada"), store.usage("ben")) == (Usage(1, 6), Usage(0, 0))

    def test_fields_of_a_dataset_change(self, store: Store) -> None:
        store.create_dataset(owner="ada", request_id="", dataset=upload())
        failure = Failure("DATA_ERROR", "no image")
        changed = store.update_dataset("d" * 32, state=DatasetState.FAILED, received_nbytes=4, failure=failure)
        failed = replace(upload(), state=DatasetState.FAILED, received_nbytes=4, failure=failure)
        assert store.dataset("d" * 32) == changed == failed

    def test_what_a_dataset_is_does_not_change(self, store: Store) -> None:
        store.create_dataset(owner="ada", request_id="", dataset=upload())
        with pytest.raises(TypeError, match="of a dataset owner cannot change"):
            store.update_dataset("d" * 32, owner="ben")

    def test_a_dataset_that_an_unfinished_job_reads_is_not_deleted(self, store: Store) -> None:
        store.create_dataset(owner="ada", request_id="", dataset=upload())
        job = new_job(store, spec={"dataset": f"datasets/{'d' * 32}"})
        with pytest.raises(InUseError, match=f"is read by job {job.id}"):
            store.delete_dataset("d" * 32)

    def test_a_dataset_that_no_unfinished_job_reads_is_deleted(self, store: Store) -> None:
        store.create_dataset(owner="ada", request_id="", dataset=upload())
        store.request_cancel(new_job(store, spec={"dataset": f"datasets/{'d' * 32}"}).id)
        store.delete_dataset("d" * 32)
        with pytest.raises(NotFoundError, match="there is no dataset"):
            store.dataset("d" * 32)

    def test_pages_hold_every_dataset_of_the_owner_once(self, store: Store) -> None:
        for digit in "abc":
            store.create_dataset(owner="ada", request_id="", dataset=upload(id=digit * 32))
        store.create_dataset(owner="ben", request_id="", dataset=upload(id="d" * 32))
        page, after = store.datasets(owner="ada", limit=2)
        rest, end = store.datasets(owner="ada", limit=2, after=after)
        assert ([one.id[0] for one in (*page, *rest)], end) == (["c", "b", "a"], "")


def test_what_nobody_made_is_not_found(store: Store) -> None:
    asked: list[Callable[[str], object]] = [
        store.job,
        store.events,
        store.images,
        store.finished_units,
        store.request_cancel,
        store.delete_job,
        lambda id: store.set_waiting(id, "DISK_FULL"),
        lambda id: store.add_event(id, "plan", {}),
        store.dataset,
        store.delete_dataset,
        lambda id: store.update_dataset(id, nbytes=1),
        store.distilled_set,
        store.delete_distilled_set,
    ]
    for ask in asked:
        with pytest.raises(NotFoundError, match=f"there is no .* '{NOBODY}'"):
            ask(NOBODY)


def test_a_token_that_nobody_holds_changes_nothing(store: Store) -> None:
    asked: list[Callable[[str], object]] = [
        store.free,
        lambda token: store.fail(token, Failure("X", "")),
        lambda token: store.keep_checkpoint(token, 0, "c" * 64),
    ]
    for ask in asked:
        with pytest.raises(LeaseLostError, match="was freed"):
            ask(NOBODY)


def test_a_sound_store_passes_its_check(store: Store) -> None:
    store.check()


@pytest.mark.parametrize("name", STORES)
@pytest.mark.parametrize("examples", [30, pytest.param(150, marks=pytest.mark.slow)])
def test_any_row_of_calls_keeps_every_promise(
    name: str, examples: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    def one_store() -> Callable[[], Store]:
        folder = tmp_path_factory.mktemp("machine")
        return lambda: STORES[name](folder)

    StoreMachine.run_on(one_store, examples=examples, steps=50)
