"""Any row of calls on a store, against a model of dictionaries; `run_on` looks for one that breaks a promise.

The model knows what workers know: which units they were given, and what the store has acknowledged. What must hold of
the store whatever was called stands in the invariants.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from limbeck_server.store.base import Store
from limbeck_server.store.errors import LeaseLostError, NotFinishedError, QuotaError
from limbeck_server.store.records import (
    FINAL,
    PREPARE,
    PUBLISH,
    Failure,
    FinishedUnit,
    Job,
    JobState,
    SetRecord,
    UnitSpec,
)
from support.stores import SPEC, image

MAX_UNFINISHED = 2
MAX_ATTEMPTS = 2
IMAGES_A_UNIT = 2
PICK = st.integers(0, 30)
"""Which of the jobs or tokens that there are: ids differ from run to run, places do not."""
FORWARD = [*JobState][:5]
"""The states that are not an early end, in the order in which a job goes through them."""


@dataclass
class ModelJob:
    """What is known of a job by what was acknowledged."""

    owner: str
    request_id: str
    kind: str
    finished: list[int] = field(default_factory=list)
    attempts: Counter[int] = field(default_factory=Counter)
    sequence: int = 0


class StoreMachine(RuleBasedStateMachine):
    """Fronts and workers that call in any order, late and twice."""

    open: Callable[[], Store]

    def __init__(self) -> None:
        super().__init__()
        self.store = self.open()
        self.jobs: dict[str, ModelJob] = {}
        self.held: dict[str, tuple[str, set[int]]] = {}
        self.lost: list[str] = []

    @classmethod
    def run_on(cls, open_again: Callable[[], Callable[[], Store]], *, examples: int, steps: int) -> None:
        """Try so many rows of so many calls; `open_again` gives, for each, what opens one store again and again."""

        class Machine(cls):  # type: ignore[misc, valid-type]
            def __init__(self) -> None:
                self.open = open_again()
                super().__init__()

        run_state_machine_as_test(
            Machine, settings=settings(max_examples=examples, stateful_step_count=steps, deadline=None)
        )

    def teardown(self) -> None:
        self.store.close()

    @initialize()
    def begin(self) -> None:
        """Most that can go wrong does so when units are at work."""
        self.create("ada", "", "distill", 0)
        self.work_as_one_should(1, 3)

    # what a front does

    @rule(
        owner=st.sampled_from(["ada", "ben"]),
        request_id=st.sampled_from(["", "r", "s"]),
        kind=st.sampled_from(["distill", "evaluate"]),
        priority=st.integers(-1, 1),
    )
    def create(self, owner: str, request_id: str, kind: str, priority: int) -> None:
        asked = (owner, f"{kind} {request_id}" if request_id else "", kind)
        known = [id for id, job in self.jobs.items() if asked[1] and (job.owner, job.request_id, job.kind) == asked]
        unfinished = [id for id, job in self.jobs.items() if job.owner == owner and not self._is_final(id)]
        try:
            job, created = self.store.create_job(
                owner=owner,
                request_id=asked[1],
                kind=kind,
                spec=SPEC,
                priority=priority,
                max_unfinished=MAX_UNFINISHED,
            )
        except QuotaError:
            assert len(unfinished) == MAX_UNFINISHED
            assert not known
            return
        assert created == (not known)
        if created:
            assert len(unfinished) < MAX_UNFINISHED
            self.jobs[job.id] = ModelJob(*asked)
        else:
            assert known == [job.id]

    @rule(pick=PICK)
    @precondition(lambda self: self.jobs)
    def cancel(self, pick: int) -> None:
        self.store.request_cancel([*self.jobs][pick % len(self.jobs)])

    @rule(pick=PICK)
    @precondition(lambda self: self.jobs)
    def delete(self, pick: int) -> None:
        job = [*self.jobs][pick % len(self.jobs)]
        final = self._is_final(job)
        try:
            self.store.delete_job(job)
        except NotFinishedError:
            assert not final
            return
        assert final
        del self.jobs[job]
        self._lose(lambda of: of == job)

    @rule()
    def start_again(self) -> None:
        self.store.close()
        self.store = self.open()
        assert self.store.free_all() == len(self.held)
        self._lose(lambda of: True)

    # what a worker does

    @rule(worker=st.sampled_from(["w0", "w1"]), max_images=st.sampled_from([1, 3, 100]))
    def lease(self, worker: str, max_images: int) -> None:
        self._lease(worker, max_images)

    @rule(leases=st.integers(1, 2), num_units=st.just(3))
    def work_as_one_should(self, leases: int, num_units: int) -> None:
        for _ in range(leases):
            if token := self._lease("w2", 3):
                for unit in sorted(self.held[token][1]):
                    self._do(token, unit, num_units)
                self._end(token, self.store.free)

    @rule(pick=PICK, num_units=st.integers(0, 3))
    @precondition(lambda self: any(units for _, units in self.held.values()))
    def do_what_is_due(self, pick: int, num_units: int) -> None:
        busy = [token for token, (_, units) in self.held.items() if units]
        token = busy[pick % len(busy)]
        self._do(token, min(self.held[token][1]), num_units)

    @rule(pick=PICK, unit=st.integers(-2, 2))
    @precondition(lambda self: self.held or self.lost)
    def do_anything(self, pick: int, unit: int) -> None:
        self._do(self._token(pick), unit, 1)

    @rule(pick=PICK, unit=st.integers(-2, 2))
    @precondition(lambda self: self.held or self.lost)
    def keep_checkpoint(self, pick: int, unit: int) -> None:
        token = self._token(pick)
        holds = unit in self.held.get(token, ("", set()))[1]
        try:
            self.store.keep_checkpoint(token, unit, "c" * 64)
        except LeaseLostError:
            assert not holds
            return
        assert holds
        self.jobs[self.held[token][0]].attempts.clear()

    @rule(pick=PICK, retry=st.sampled_from(["", "fault"]))
    @precondition(lambda self: self.held or self.lost)
    def free(self, pick: int, retry: str) -> None:
        token = self._token(pick)
        if retry and token in self.held:
            job, units = self.held[token]
            self.jobs[job].attempts.update(units)
        ended = self._end(token, lambda token: self.store.free(token, retry=retry, max_attempts=MAX_ATTEMPTS))
        if ended and not ended.cancel_requested:
            tired = max(self.jobs[ended.id].attempts.values(), default=0) >= MAX_ATTEMPTS
            assert (ended.state is JobState.FAILED) == tired

    @rule(pick=PICK)
    @precondition(lambda self: self.held or self.lost)
    def fail(self, pick: int) -> None:
        self._end(self._token(pick), lambda token: self.store.fail(token, Failure("DATA_ERROR", "empty")))

    # what holds whatever was called

    @invariant()
    def jobs_are_those_that_were_made(self) -> None:
        assert {job.id for job in self.store.jobs(limit=1000)[0]} == self.jobs.keys()

    @invariant()
    def states_only_move_forward(self) -> None:
        for id in self.jobs:
            states = [JobState(event.detail["state"]) for event in self.store.events(id) if event.kind == "state"]
            assert states[-1] is self.store.job(id).state
            assert all(state not in FINAL for state in states[:-1]), states
            ranks = [FORWARD.index(state) for state in states if state in FORWARD]
            assert ranks == sorted(ranks), states

    @invariant()
    def sequences_grow_without_a_gap(self) -> None:
        for id, known in self.jobs.items():
            found = [event.sequence for event in self.store.events(id)]
            assert found == list(range(1, self.store.job(id).sequence + 1))
            assert len(found) >= known.sequence
            known.sequence = len(found)

    @invariant()
    def units_are_finished_once(self) -> None:
        for id, known in self.jobs.items():
            of_method = sorted(unit for unit in known.finished if unit >= 0)
            assert len(set(known.finished)) == len(known.finished)
            assert [unit.index for unit in self.store.finished_units(id)] == of_method
            logged = [event.detail["index"] for event in self.store.events(id) if event.kind == "unit"]
            assert sorted(logged) == of_method

    @invariant()
    def images_exist_once(self) -> None:
        for id, known in self.jobs.items():
            found = self.store.images(id)
            assert [number for number, _ in found] == list(range(1, len(found) + 1))
            names = [(one.label, one.position) for _, one in found]
            units = [unit for unit in known.finished if unit >= 0]
            assert names == [(unit, position) for unit in units for position in range(IMAGES_A_UNIT)]

    @invariant()
    def leases_are_those_that_are_held(self) -> None:
        found = {one.token: (one.job.id, {unit.index for unit in one.units}) for one in self.store.leases()}
        assert found == self.held

    @invariant()
    def a_job_that_ended_early_holds_nothing(self) -> None:
        ended = (JobState.FAILED, JobState.CANCELLED)
        assert [job for job, _ in self.held.values() if self.store.job(job).state in ended] == []

    @invariant()
    def quotas_are_what_is_there(self) -> None:
        for owner in ("ada", "ben"):
            unfinished = [id for id, job in self.jobs.items() if job.owner == owner and not self._is_final(id)]
            assert self.store.usage(owner).unfinished_jobs == len(unfinished) <= MAX_UNFINISHED

    def _is_final(self, job: str) -> bool:
        return self.store.job(job).state in FINAL

    def _token(self, pick: int) -> str:
        """A token that is held, or one that was."""
        tokens = [*self.held, *self.lost[-3:]]
        return tokens[pick % len(tokens)]

    def _lease(self, worker: str, max_images: int) -> str | None:
        found = self.store.lease(worker, max_images=max_images)
        if found is None:
            return None
        units = {unit.index for unit in found.units}
        assert units
        taken = {unit for job, others in self.held.values() if job == found.job.id for unit in others}
        assert not units & (taken | set(self.jobs[found.job.id].finished))
        assert not found.job.cancel_requested
        assert not self._is_final(found.job.id)
        self.held[found.token] = (found.job.id, units)
        return found.token

    def _do(self, token: str, unit: int, num_units: int) -> None:
        job, held = self.held.get(token, ("0" * 32, set()))
        try:
            if unit == PREPARE:
                specs = [UnitSpec(index, (index,), IMAGES_A_UNIT) for index in range(num_units)]
                self.store.prepared(token, {"plan": {"x": 1}}, specs, num_images=num_units * IMAGES_A_UNIT)
            elif unit == PUBLISH:
                record = SetRecord(id=job[::-1], job=job, owner="ada", path="x", created_at=0.0)
                self.store.published(token, record, {})
            else:
                images = tuple(image(unit, position) for position in range(IMAGES_A_UNIT))
                self.store.finish_unit(token, FinishedUnit(unit, images, result={}))
        except LeaseLostError:
            assert unit not in held
            return
        assert unit in held
        held.remove(unit)
        self.jobs[job].finished.append(unit)
        self.jobs[job].attempts.clear()

    def _end(self, token: str, call: Callable[[str], Job]) -> Job | None:
        try:
            job = call(token)
        except LeaseLostError:
            assert token not in self.held
            return None
        del self.held[token]
        self.lost.append(token)
        if job.state is JobState.FAILED:  # it takes its other leases with it
            self._lose(lambda of: of == job.id)
        return job

    def _lose(self, which: Callable[[str], bool]) -> None:
        gone = [token for token, (job, _) in self.held.items() if which(job)]
        for token in gone:
            del self.held[token]
        self.lost += gone
