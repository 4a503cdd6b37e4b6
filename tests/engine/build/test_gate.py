"""The gate on the shipped pack: it accepts a good int8 trunk and refuses broken ones."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from limbeck.backends.onnxruntime import OnnxRuntime
from limbeck.build.gate import Gate, Verdict
from limbeck.build.observe import Questions
from limbeck.build.thresholds import THRESHOLDS
from limbeck.diffusion.step_cache import StepCache
from limbeck.errors import ConfigError, PackError
from limbeck.pack import Pack
from support.broken import rounded_weights, scaled_weight, with_graph
from support.step_cache import cut_mini

pytestmark = [
    pytest.mark.torch,
    pytest.mark.skipif(
        not (find_spec("onnx") and find_spec("onnx_ir")), reason="needs the export extra (onnx, onnx_ir)"
    ),
]

MINI = Pack.open("mini")
QUESTIONS = Questions(classes=("0", "4", "7"), per_class=3, steps=3, inversion_steps=2, score_times=2)
WALKS = Questions(classes=("7",), per_class=2, steps=25, inversion_steps=25, score_times=1)
BACKEND = OnnxRuntime()


@pytest.fixture(scope="module")
def gate() -> Gate:
    return Gate(MINI, BACKEND, questions=QUESTIONS)


@pytest.fixture(scope="module")
def good(gate: Gate, tmp_path_factory: pytest.TempPathFactory) -> Verdict:
    from limbeck.quantize.int8 import write_int8

    pack = with_graph(MINI, tmp_path_factory.mktemp("good") / "pack", "trunk", write_int8)
    return gate.judge(pack, BACKEND)


def test_a_good_int8_trunk_passes(good: Verdict) -> None:
    assert good.passed, good.reason


def test_a_trunk_is_judged_by_noise_images_scores_and_groups(good: Verdict) -> None:
    assert set(good.measured) == {
        "noise_error",
        "noise_cosine",
        "guided_error",
        "score_rank",
        "group_regret",
        "group_agreement",
        "frechet_ratio",
        "class_mean_ratio",
    }


def test_every_metric_is_measured_or_has_a_reason(good: Verdict) -> None:
    assert set(good.measured) | set(good.not_asked) == set(THRESHOLDS)
    assert good.not_asked["probe_drop"] == "9 test images are too few, it takes 20"
    assert good.not_asked["decode_error"] == "none of its graphs changed"
    assert good.not_asked["walk_error"] == "there is no step cache"


def test_2_bit_weights_are_refused(gate: Gate, tmp_path: Path) -> None:
    verdict = gate.judge(with_graph(MINI, tmp_path / "pack", "trunk", rounded_weights(2)), BACKEND)
    assert not verdict.passed
    assert "noise_error is" in verdict.reason


def test_one_layer_with_a_wrong_scale_is_refused(gate: Gate, tmp_path: Path) -> None:
    verdict = gate.judge(with_graph(MINI, tmp_path / "pack", "trunk", scaled_weight(12, 4.0)), BACKEND)
    assert not verdict.passed


def test_what_is_refused_at_once_is_not_asked_dearer_questions(gate: Gate, tmp_path: Path) -> None:
    stages: list[str] = []
    broken = with_graph(MINI, tmp_path / "pack", "trunk", rounded_weights(2))
    verdict = gate.judge(broken, BACKEND, on_stage=stages.append)
    assert stages == ["noise"]
    assert verdict.not_asked["score_rank"] == "another metric had refused the candidate already"


def test_a_broken_backbone_is_refused_by_its_features(gate: Gate, tmp_path: Path) -> None:
    verdict = gate.judge(with_graph(MINI, tmp_path / "pack", "backbone", scaled_weight(0, -1.0)), BACKEND)
    assert verdict.changed == ("backbone",)
    assert set(verdict.measured) == {"feature_error"}


def test_a_pack_that_did_not_change_passes_without_a_question(gate: Gate) -> None:
    verdict = gate.judge(MINI, BACKEND)
    assert verdict.passed
    assert verdict.measured == {}


def test_on_another_backend_every_graph_counts_as_changed() -> None:
    verdict = Gate(MINI, BACKEND, questions=None).judge(MINI, OnnxRuntime(threads=1))
    assert set(verdict.changed) == set(MINI.manifest.graphs)


def test_a_graph_that_cannot_be_asked_alone_is_compared_output_by_output(tmp_path: Path) -> None:
    broken = with_graph(MINI, tmp_path / "pack", "trunk", rounded_weights(2))
    verdict = Gate(MINI, BACKEND, questions=None).judge(broken, BACKEND)
    assert set(verdict.measured) == {"output_error"}
    assert not verdict.passed


def test_packs_with_other_roles_are_not_compared(gate: Gate) -> None:
    graphs = {role: graph for role, graph in MINI.manifest.graphs.items() if role != "backbone"}
    other = Pack(MINI.folder, MINI.manifest.model_copy(update={"graphs": graphs}))
    with pytest.raises(PackError, match="the packs cannot be compared"):
        gate.judge(other, BACKEND)


@pytest.fixture(scope="module")
def walking_gate() -> Gate:
    return Gate(MINI, BACKEND, questions=WALKS)


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    return cut_mini(tmp_path_factory.mktemp("cut") / "pack")


@pytest.fixture(scope="module")
def cached(walking_gate: Gate, cut: Pack) -> Verdict:
    return walking_gate.judge(cut, BACKEND, step_cache=StepCache())


def test_a_step_cache_is_only_asked_what_walks(cached: Verdict) -> None:
    assert set(cached.measured) == {"walk_error", "group_regret", "group_agreement"}
    assert {cached.not_asked[name] for name in ("noise_error", "score_rank")} == {"a step cache does not show in it"}


def test_a_step_cache_moves_the_walk(cached: Verdict) -> None:
    assert cached.figures["walk_error"] > 0


def test_a_cache_that_is_full_at_every_step_moves_nothing(walking_gate: Gate, cut: Pack) -> None:
    verdict = walking_gate.judge(cut, BACKEND, step_cache=StepCache(every=1))
    assert verdict.figures == {"walk_error": 0, "group_regret": 0, "group_agreement": 1}


def test_a_broken_shallow_graph_is_refused_although_the_whole_network_is_sound(
    walking_gate: Gate, cut: Pack, tmp_path: Path
) -> None:
    broken = with_graph(cut, tmp_path / "pack", "shallow", scaled_weight(1, 4.0))
    verdict = walking_gate.judge(broken, BACKEND, step_cache=StepCache())
    assert not verdict.passed
    assert "walk_error is" in verdict.reason


def test_walks_that_are_too_short_for_a_step_cache_are_refused(gate: Gate, cut: Pack) -> None:
    with pytest.raises(ConfigError, match="needs a walk of at least 25 steps, this one has 3"):
        gate.judge(cut, BACKEND, step_cache=StepCache())
