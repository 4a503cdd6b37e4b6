"""The planner, on jobs of all kinds: what it promises holds whatever an engine costs."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.errors import BudgetError
from limbeck.memory.planner import Job, Layout, Plan, layouts, least_budget, plan, predict, shrunk, together
from limbeck.memory.profile import Profile
from limbeck.memory.work import Arrays, Walk, Work

MIB = 2**20
ROLES = ("encoder", "conditioner", "trunk", "decoder")
CACHED = ("encoder", "conditioner", "trunk", "shallow", "decoder")


def profile(bucket: int, *, weights: int, activations: int, seconds: float = 0.1, load: float = 1.0) -> Profile:
    return Profile(
        bucket=bucket,
        load_nbytes=weights + weights // 4,
        resident_nbytes=weights,
        run_nbytes=weights + bucket * activations,
        load_seconds=load,
        run_seconds=bucket * seconds,
    )


def job(
    *,
    weights: tuple[int, ...] = (100, 300, 400, 200),
    activations: int = 20,
    classes: int = 4,
    ipc: int = 2,
    base: int = 100,
    load: float = 1.0,
    interleaved: bool = False,
    seconds: float = 0.1,
) -> Job:
    profiles = {
        (role, None, bucket): profile(
            bucket, weights=size * MIB, activations=activations * MIB, seconds=seconds, load=load
        )
        for role, size in zip(ROLES, weights, strict=True)
        for bucket in (1, 2, 4, 8)
    }
    work = Work(
        class_images=(5,) * classes,
        images_per_class=ipc,
        walks=(Walk(samples=classes * ipc, step_rows=(2, 2, 1)),),
        condition_times=3,
        scratch_nbytes=MIB,
        interleaved=interleaved,
    )
    arrays = Arrays(
        image_nbytes=MIB // 4,
        latent_nbytes=4096,
        condition_nbytes=MIB,
        condition_each_time=True,
        picture_nbytes=2 * MIB,
    )
    return Job(roles=ROLES, base_nbytes=base * MIB, profiles=profiles, work=work, arrays=arrays, tiles={})


jobs = st.builds(
    job,
    weights=st.tuples(*[st.integers(1, 2000)] * 4),
    activations=st.integers(0, 300),
    classes=st.integers(1, 30),
    ipc=st.integers(1, 20),
    base=st.integers(10, 300),
    load=st.floats(0, 10),
    interleaved=st.booleans(),
)
budgets = st.integers(50 * MIB, 12000 * MIB)


def planned(found: Job, budget: int) -> Plan | None:
    try:
        return plan(found, budget_nbytes=budget)
    except BudgetError:
        return None


@settings(max_examples=40, deadline=None)
@given(jobs, budgets)
def test_a_plans_peak_never_exceeds_the_budget(found, budget):
    made = planned(found, budget)
    assert made is None or made.peak_nbytes <= budget


@settings(max_examples=40, deadline=None)
@given(jobs, budgets, st.integers(0, 4000 * MIB))
def test_more_budget_never_gives_a_slower_plan(found, budget, more):
    small, large = planned(found, budget), planned(found, budget + more)
    if small is not None:
        assert large is not None
        assert large.seconds <= small.seconds


@settings(max_examples=40, deadline=None)
@given(jobs, budgets)
def test_a_refusal_names_the_smallest_budget_that_works(found, budget):
    least = min(least_budget(predict(found, layout)) for layout in layouts(found))
    if budget < least:
        with pytest.raises(BudgetError) as caught:
            plan(found, budget_nbytes=budget)
        assert caught.value.needed_nbytes == least
    else:
        assert plan(found, budget_nbytes=budget).peak_nbytes <= budget


@settings(max_examples=40, deadline=None)
@given(jobs)
def test_the_parts_of_a_peak_add_up_to_it_and_no_turn_is_higher(found):
    for layout in layouts(found):
        made = predict(found, layout)
        assert sum(made.parts.values()) == made.peak_nbytes == max(made.stages.values())


def test_with_room_for_everything_all_engines_stay_loaded():
    assert plan(job(), budget_nbytes=4000 * MIB).layout.groups == (ROLES,)


def test_without_room_for_two_engines_they_are_loaded_one_after_another_and_all_images_wait():
    made = plan(job(weights=(400, 400, 400, 400), load=100.0), budget_nbytes=800 * MIB)
    assert made.layout.groups == tuple((role,) for role in ROLES)
    assert made.layout.wave >= 8


def test_a_method_that_goes_back_and_forth_keeps_its_engines_together():
    found = job(interleaved=True)
    assert {layout.groups for layout in layouts(found)} == {(ROLES,)}


def test_the_peak_of_one_engine_alone_is_process_weights_activations_and_arrays():
    found = job(activations=200)
    layout = next(one for one in layouts(found) if len(one.groups) == 4 and one.bucket == 2 and one.codec_bucket == 1)
    parts = predict(found, layout).parts
    assert parts["process"] == 100 * MIB
    assert parts["engine trunk"] == 400 * MIB
    assert parts["calls of trunk"] == 2 * 200 * MIB


def test_a_refusal_says_what_was_asked_what_is_largest_and_what_would_fit():
    with pytest.raises(BudgetError) as caught:
        plan(job(), budget_nbytes=300 * MIB)
    message = str(caught.value)
    assert "nothing fits in 300 MiB" in message
    assert "largest part: engine trunk, 400 MiB" in message
    assert f"--budget {-(-caught.value.needed_nbytes // MIB)}MiB" in message
    assert "--precision int8" in message


def test_a_bucket_that_does_not_fit_is_refused_with_one_that_does():
    found = job(activations=300)
    with pytest.raises(BudgetError, match=r"with a bucket of 8(.|\n)*--bucket [124]\b"):
        plan(found, budget_nbytes=1300 * MIB, bucket=8)


def test_a_bucket_that_was_asked_for_is_kept():
    assert plan(job(), budget_nbytes=4000 * MIB, bucket=4).layout.bucket == 4


def test_shrinking_halves_the_buckets_then_loads_engines_apart_and_then_gives_up():
    layout: Layout | None = dataclasses.replace(together(ROLES, bucket=4), codec_bucket=8)
    seen = []
    while layout is not None:
        seen.append((layout.bucket, layout.codec_bucket, len(layout.groups)))
        layout = shrunk(layout)
    assert seen == [(4, 8, 1), (2, 2, 1), (1, 1, 1), (1, 1, 4)]


def test_calls_of_the_trunk_are_those_of_cutting_every_steps_rows_into_buckets():
    walk = Walk(samples=10, step_rows=(1, 2))
    # batches of 4, 4 and 2 samples: 1 + 1 + 1 calls in the step of one row, 2 + 2 + 1 in the step of two
    assert walk.calls(4) == 8


def cached(*, full_every: int = 2, middles: int = 2) -> Job:
    """The job with a step cache: a shallow graph of 50 MiB that takes half the time, and middles of 1 MiB."""
    found = job(seconds=0.2)
    shallow = {
        ("shallow", None, bucket): profile(bucket, weights=50 * MIB, activations=10 * MIB, seconds=0.1)
        for bucket in (1, 2, 4, 8)
    }
    return dataclasses.replace(
        found,
        roles=CACHED,
        profiles={**found.profiles, **shallow},
        arrays=dataclasses.replace(found.arrays, middle_nbytes=MIB, middles=middles),
        full_every=full_every,
    )


def test_a_shallow_graph_is_always_loaded_with_its_trunk():
    for layout in layouts(cached()):
        (group,) = (group for group in layout.groups if "trunk" in group)
        assert group.index("shallow") == group.index("trunk") + 1


def test_shrinking_never_loads_a_shallow_graph_apart_from_its_trunk():
    made = shrunk(together(CACHED, bucket=1))
    assert made is not None
    assert made.groups == (("encoder",), ("conditioner",), ("trunk", "shallow"), ("decoder",))
    assert shrunk(made) is None


def test_remembered_middles_take_memory_for_both_branches_of_every_sample():
    few, many = (predict(cached(middles=middles), together(CACHED, bucket=4)) for middles in (1, 2))
    assert many.stages["trunk"] - few.stages["trunk"] == 4 * 2 * MIB
    assert many.stages["encoder"] == few.stages["encoder"]


def test_half_the_steps_run_the_shallow_graph_and_take_its_time():
    layout = together(CACHED, bucket=8)
    every, half = (predict(cached(full_every=full_every), layout).seconds for full_every in (1, 2))
    # 8 samples in steps of 16, 16 and 8 rows: 5 calls, of which 2 take 8 * 0.1 s instead of 8 * 0.2 s
    assert every - half == pytest.approx(2 * 8 * 0.1)
