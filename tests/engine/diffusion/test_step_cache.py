"""The step cache on graphs in closed form.

The trunk's middle is a number a sample, the same in every token: `middle(latents, time, class)`. Trunk and shallow
graph predict the latents plus that number, the trunk its own and the shallow graph the one it is given.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.arrays import Array
from limbeck.diffusion.denoiser import ClassCondition, ClassConditioning, DitDenoiser
from limbeck.diffusion.guidance import Guided
from limbeck.diffusion.samplers import ddim, finish, sampler
from limbeck.diffusion.step_cache import CachedDitDenoiser, StepCache, check_gate
from limbeck.errors import ConfigError
from limbeck.pack import BuildTrial, DenoiserInfo, GraphEntry, PackManifest
from support.functions import function_engine
from support.graphs import tensor
from support.models import SCHEDULE

SHAPE = (1, 2, 2)
INFO = DenoiserInfo(latent_shape=SHAPE, classes=("cat", "dog"), null_class=2, learned_sigma=False)
MIDDLE = tensor("middle", "batch", 3, 2)
STEPS = 25


@dataclass(frozen=True)
class Closed:
    """A denoiser in closed form, and what its engines were fed."""

    denoiser: CachedDitDenoiser
    whole: DitDenoiser
    trunk_calls: list[dict[str, Array]]
    shallow_calls: list[dict[str, Array]]


def on_a_line(latents, time, class_id):
    """Straight in time, another line for each class."""
    return 0.3 * time / 1000 * (class_id + 1) - 0.1 * class_id


def of_the_latents(latents, time, class_id):
    """Tells samples, times and classes apart."""
    return 0.05 * np.tanh(latents.sum((1, 2, 3)) + time / 300 + class_id)


def closed(middle: Callable[..., Array] = of_the_latents, *, bucket=4, **cache) -> Closed:
    def condition(timestep, class_id):
        return {"modulation": np.stack([timestep, class_id], axis=1).astype(np.float32)}

    def predict(latents, modulation):
        made = middle(latents, *modulation.T).astype(np.float32)
        return {"prediction": latents + made[:, None, None, None], "middle": np.tile(made[:, None, None], (1, 3, 2))}

    def predict_shallow(latents, modulation, middle):
        return {"prediction": latents + middle[:, :1, :1, None]}

    latents, modulation = tensor("latents", "batch", *SHAPE), tensor("modulation", "batch", 2)
    prediction = tensor("prediction", "batch", *SHAPE)
    conditioner, _ = function_engine(
        [tensor(name, "batch", dtype="int64") for name in ("timestep", "class_id")], [modulation], condition
    )
    trunk, trunk_calls = function_engine([latents, modulation], [prediction, MIDDLE], predict)
    shallow, shallow_calls = function_engine([latents, modulation, MIDDLE], [prediction], predict_shallow)
    return Closed(
        CachedDitDenoiser(INFO, conditioner, trunk, shallow, cache=StepCache(**cache), bucket=bucket),
        DitDenoiser(INFO, conditioner, trunk, bucket=bucket),
        trunk_calls,
        shallow_calls,
    )


def start(batch, seed=0):
    return np.random.default_rng(seed).standard_normal((batch, *SHAPE)).astype(np.float32)


def walked(denoiser, latents, class_ids, times=None, *, walk=ddim):
    """The latents at the end of a walk of `STEPS` steps, or along `times`."""
    times = SCHEDULE.timesteps(STEPS) if times is None else times
    condition = ClassCondition(np.asarray(class_ids, np.int64))
    return finish(latents, walk(denoiser, latents, condition, schedule=SCHEDULE, times=times))


def guided(denoiser, scale=4.0, **settings):
    return Guided(denoiser, ClassConditioning(INFO), scale=scale, **settings)


@pytest.mark.parametrize("name", ["ddim", "dpm++2m", "pndm"])
def test_full_at_every_step_is_no_cache_bit_for_bit(name):
    model, latents = closed(every=1), start(6)
    run = sampler(name)
    np.testing.assert_array_equal(
        walked(guided(model.denoiser), latents, [0, 1] * 3, walk=run),
        walked(guided(model.whole), latents, [0, 1] * 3, walk=run),
        strict=True,
    )


@pytest.mark.parametrize("every", [2, 3, 5])
def test_middles_on_a_line_are_foretold_exactly_by_order_1(every):
    model, latents = closed(on_a_line, every=every, order=1), start(4)
    cached = walked(guided(model.denoiser), latents, [0, 1, 0, 1])
    np.testing.assert_allclose(cached, walked(guided(model.whole), latents, [0, 1, 0, 1]), rtol=1e-4, atol=1e-5)


def test_order_0_reuses_the_middle_of_the_last_full_step():
    model = closed(on_a_line, every=3, order=0)
    walked(model.denoiser, start(1), [0])
    times = SCHEDULE.timesteps(STEPS)[:-1]
    last_full = np.repeat(times[::3], 3)[: len(times)]
    foretold = [call["middle"][0, 0, 0] for call in model.shallow_calls]
    expected = [on_a_line(None, full, 0) for step, full in enumerate(last_full) if step % 3]
    np.testing.assert_allclose(foretold, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("cache", "full_steps"),
    [
        ({"every": 2, "order": 0}, list(range(0, STEPS, 2))),
        ({"every": 3, "order": 0}, list(range(0, STEPS, 3))),
        ({"every": 2, "order": 1}, [0, *range(1, STEPS, 2)]),
    ],
    ids=["every 2", "every 3", "two to start a line"],
)
def test_one_step_in_so_many_is_full(cache, full_steps):
    model = closed(**cache)
    walked(model.denoiser, start(1), [0])
    times = SCHEDULE.timesteps(STEPS)
    assert [int(call["modulation"][0, 0]) for call in model.trunk_calls] == [times[step] for step in full_steps]


walks = st.lists(st.tuples(st.integers(0, 1), st.sampled_from([0, 25, 30, 40])), min_size=2, max_size=5)


@settings(max_examples=25)
@given(walks, st.sampled_from([2, 3]), st.sampled_from([0, 1]), st.integers(0, 100))
def test_a_sample_does_not_depend_on_its_neighbors(asked, every, order, seed):
    """Neighbors have other classes, other numbers of steps and other times; guidance acts on a part of each walk."""
    longest = max(steps for _, steps in asked)
    columns = [SCHEDULE.timesteps(steps) if steps else np.array([-1]) for _, steps in asked]
    times = np.stack([np.concatenate([np.full(longest + 1 - len(c), c[0]), c]) for c in columns], axis=1)
    latents, class_ids = start(len(asked), seed), [class_id for class_id, _ in asked]
    together = walked(
        guided(closed(every=every, order=order, bucket=3).denoiser, interval=(0.2, 0.7)), latents, class_ids, times
    )
    for row, class_id in enumerate(class_ids):
        alone = guided(closed(every=every, order=order, bucket=3).denoiser, interval=(0.2, 0.7))
        np.testing.assert_array_equal(
            together[row : row + 1], walked(alone, latents[row : row + 1], [class_id], times[:, row : row + 1])
        )


@settings(max_examples=25)
@given(st.integers(0, STEPS), st.sampled_from([0, 1]))
def test_a_walk_does_not_depend_on_those_before_it_finished_or_not(steps_before, order):
    """The same denoiser, condition and scale: the walk before was given up after some steps."""
    model, condition = closed(every=2, order=order), ClassCondition(np.array([0, 1]))
    times = SCHEDULE.timesteps(STEPS)
    before = ddim(guided(model.denoiser), start(2, seed=1), condition, schedule=SCHEDULE, times=times)
    for _ in range(steps_before):
        next(before)
    after = walked(guided(model.denoiser), start(2), [0, 1])
    np.testing.assert_array_equal(after, walked(guided(closed(every=2, order=order).denoiser), start(2), [0, 1]))


def test_two_walks_side_by_side_keep_apart():
    model, times = closed(every=2), SCHEDULE.timesteps(STEPS)
    condition = ClassCondition(np.array([0]))
    both = [
        ddim(guided(model.denoiser), start(1, seed), condition, schedule=SCHEDULE, times=times) for seed in range(2)
    ]
    end, _ = list(zip(*both, strict=True))[-1]
    np.testing.assert_array_equal(end, walked(guided(closed(every=2).denoiser), start(1, 0), [0]))


@settings(max_examples=25)
@given(st.floats(0, 8), st.floats(0, 8))
def test_nothing_is_carried_from_one_guidance_scale_to_another(scale, earlier):
    model = closed(every=2)
    walked(guided(model.denoiser, earlier), start(2), [0, 1])
    np.testing.assert_array_equal(
        walked(guided(model.denoiser, scale), start(2), [0, 1]),
        walked(guided(closed(every=2).denoiser, scale), start(2), [0, 1]),
    )


def test_what_was_foretold_for_no_condition_comes_from_no_condition():
    model = closed(lambda latents, time, class_id: class_id + 0 * time, every=2, order=0)
    walked(guided(model.denoiser), start(1), [1])
    for call in model.shallow_calls:
        np.testing.assert_array_equal(call["middle"][:, 0, 0], call["modulation"][:, 1])


def test_outside_a_walk_the_whole_network_runs():
    model = closed(every=2)
    for time in (900, 860, 820):
        model.denoiser(start(2), np.full(2, time), ClassCondition(np.array([0, 1])))
    assert (len(model.trunk_calls), len(model.shallow_calls)) == (3, 0)


def test_a_walk_of_fewer_than_25_steps_is_refused():
    with pytest.raises(ConfigError, match=r"at least 25 steps, this one has 24: .*turn the cache off, or raise"):
        walked(guided(closed(every=2).denoiser), start(1), [0], SCHEDULE.timesteps(24))


@pytest.mark.parametrize("every", [1, 2, 3, 4])
@pytest.mark.parametrize("order", [0, 1])
def test_the_full_steps_of_a_walk_are_those_that_it_says(every, order):
    model = closed(every=every, order=order)
    walked(model.denoiser, start(1), [0])
    assert len(model.trunk_calls) == StepCache(every=every, order=order).full_steps(STEPS)


@given(st.integers(1, 9), st.sampled_from([0, 1]))
def test_a_setting_as_text_is_read_as_itself(every, order):
    cache = StepCache(every=every, order=order)
    assert StepCache.parse(str(cache)) == cache


def test_what_is_not_said_of_a_setting_stays_as_it_is_by_default():
    assert StepCache.parse("every=3") == StepCache(every=3)


@pytest.mark.parametrize("text", ["", "2", "every", "every=two", "every=-1", "each=2", "every=2,every=3", "every=2,"])
def test_text_that_is_no_setting_is_refused_with_one_that_is(text):
    with pytest.raises(ConfigError, match=r"is no step cache; give every=N .*: every=2,order=1"):
        StepCache.parse(text)


def test_an_order_that_there_is_not_is_refused_as_text_too():
    with pytest.raises(ConfigError, match="order 0 or 1, got order=2"):
        StepCache.parse("every=2,order=2")


def test_a_sample_of_no_step_is_left_alone():
    latents = start(1)
    np.testing.assert_array_equal(walked(closed(every=2).denoiser, latents, [0], np.array([-1, -1])), latents)


def test_a_condition_of_another_kind_is_refused():
    with pytest.raises(ConfigError, match="takes a ClassCondition, got list"):
        closed().denoiser.begin([0], np.zeros((2, 1), np.int64))


@pytest.mark.parametrize(
    ("cache", "message"), [({"every": 0}, "every 1 or more steps, got every=0"), ({"order": 2}, "order 0 or 1, got")]
)
def test_settings_that_mean_nothing_are_refused(cache, message):
    with pytest.raises(ConfigError, match=message):
        StepCache(**cache)


def trial(**changes):
    said = {
        "role": "shallow",
        "backend": "onnxruntime",
        "precision": "int8",
        "recipe": {"every": 2, "order": 1},
        "kept": True,
        "reason": "all metrics hold",
    }
    return BuildTrial(**said | changes)


def manifest(*trials, roles=("conditioner", "trunk", "shallow")):
    entry = {"inputs": (), "outputs": (), "opset": 23, "parity": 0.0, "precision": "int8"}
    graphs = {role: GraphEntry(file=f"{role}.onnx", **entry) for role in roles}
    return PackManifest.model_construct(name="known", graphs=graphs, trials=trials, denoiser=INFO)


def test_a_cache_that_the_gate_kept_at_this_precision_may_run():
    check_gate(manifest(trial()), StepCache(every=2, order=1), "onnxruntime")


@pytest.mark.parametrize(
    "other",
    [{"recipe": {"every": 3, "order": 1}}, {"precision": "fp32"}, {"backend": "openvino"}, {"role": "trunk"}],
    ids=["setting", "precision", "backend", "role"],
)
def test_a_trial_of_something_else_does_not_count(other):
    with pytest.raises(ConfigError, match="every=2,order=1 for pack 'known' at int8 on onnxruntime: it was not tried"):
        check_gate(manifest(trial(**other)), StepCache(every=2, order=1), "onnxruntime")


def test_a_cache_that_the_gate_refused_is_refused_with_its_reason():
    refused = trial(kept=False, reason="probe_accuracy is 0.4, must be at least 0.9")
    with pytest.raises(ConfigError, match=r"it was refused: probe_accuracy is 0\.4"):
        check_gate(manifest(refused), StepCache(every=2, order=1), "onnxruntime")


def test_what_was_kept_instead_is_named():
    with pytest.raises(ConfigError, match=r"turn the step cache off, take --step-cache every=3,order=1, which passed"):
        check_gate(manifest(trial(recipe={"every": 3, "order": 1})), StepCache(every=2), "onnxruntime")


def test_a_trial_without_its_shallow_graph_is_refused():
    with pytest.raises(ConfigError, match="limbeck build PACK --out NEW --step-cache every=2,order=1"):
        check_gate(manifest(trial(), roles=("conditioner", "trunk")), StepCache(), "onnxruntime")


def test_a_pack_without_a_dit_is_refused():
    with pytest.raises(ConfigError, match="pack 'known' has no DiT, and a step cache is made for nothing else"):
        check_gate(manifest().model_copy(update={"denoiser": None}), StepCache(), "onnxruntime")
