"""A step cache in a build of the shipped pack: cut, quantized, judged, and kept or refused."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from limbeck.backends.onnxruntime import OnnxRuntime
from limbeck.build.build import BuildOptions, build_pack
from limbeck.build.candidates import Writers
from limbeck.diffusion.step_cache import StepCache, check_gate
from limbeck.engine import compile
from limbeck.errors import ConfigError
from limbeck.pack import BuildTrial, Pack
from support.cli import files_of
from support.precisions import relative_error
from support.step_cache import ANYTHING, cut_mini, nothing_but

pytestmark = [
    pytest.mark.torch,
    pytest.mark.skipif(
        not (find_spec("onnx") and find_spec("onnx_ir")), reason="needs the export extra (onnx, onnx_ir)"
    ),
]

MINI = Pack.open("mini")
BACKEND = OnnxRuntime()
CACHE = StepCache(every=2, order=1)


def build(out: Path, precision, thresholds) -> Pack:
    options = BuildOptions(
        precision=precision, roles=("trunk",), bucket=4, quick=True, timing_seconds=0.05, step_cache=CACHE
    )
    build_pack(MINI, out, BACKEND, options, thresholds=thresholds)
    return Pack.open(out)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    return build(tmp_path_factory.mktemp("kept") / "pack", "int8", ANYTHING)


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    return build(tmp_path_factory.mktemp("refused") / "pack", "fp32", nothing_but("walk_error", 1e-6))


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    return cut_mini(tmp_path_factory.mktemp("cut") / "pack")


def trial_of(pack: Pack) -> BuildTrial:
    (trial,) = [trial for trial in pack.manifest.trials if trial.role == "shallow"]
    return trial


def run(pack: Pack, role, feeds):
    with compile(pack.graph(role), BACKEND) as engine:
        return engine.run({tensor.name: feeds[tensor.name] for tensor in engine.spec.inputs})


def feeds_of_a_step(pack: Pack):
    """What the shallow graph of `pack` is fed: latents of almost pure noise, modulations, and the trunk's middle."""
    rng = np.random.default_rng(3)
    modulation = run(pack, "conditioner", {"timestep": np.full(3, 950), "class_id": np.array([1, 5, 10])})
    latents = rng.standard_normal((3, *MINI.manifest.denoiser.latent_shape), dtype=np.float32)
    feeds = {"latents": latents, **modulation}
    return {**feeds, "middle": run(pack, "trunk", feeds)["middle"]}


def test_trunk_and_shallow_graph_have_the_precision_that_was_kept(kept: Pack) -> None:
    assert {kept.manifest.graphs[role].precision for role in ("trunk", "shallow")} == {"int8"}


def test_the_trial_is_of_the_setting_with_what_was_measured_and_its_limits(kept: Pack) -> None:
    trial = trial_of(kept)
    assert (trial.kept, trial.precision, dict(trial.recipe)) == (True, "int8", {"every": 2, "order": 1})
    assert {"seconds", "trunk_seconds", "time_ratio", "walk_error", "group_regret"} <= trial.figures.keys()
    assert set(trial.limits) == {"walk_error", "group_regret", "group_agreement"}


def test_what_was_kept_may_run_and_no_other_setting(kept: Pack) -> None:
    check_gate(kept.manifest, CACHE, "onnxruntime")
    with pytest.raises(ConfigError, match=r"it was not tried(.|\n)*take --step-cache every=2,order=1, which passed"):
        check_gate(kept.manifest, StepCache(every=3), "onnxruntime")


def test_every_file_of_the_new_pack_is_listed_and_whole(kept: Pack) -> None:
    assert set(files_of(kept.folder)) - {"pack.json"} == set(kept.manifest.files)
    assert kept.verify() == len(kept.manifest.files)


def test_the_trunk_predicts_what_it_would_without_a_cut_bit_for_bit(kept: Pack, tmp_path: Path) -> None:
    from limbeck.quantize.int8 import write_int8

    write_int8(MINI.graph("trunk").path, tmp_path / "trunk.onnx")
    feeds = feeds_of_a_step(kept)
    found = run(kept, "trunk", feeds)["prediction"]
    import onnxruntime

    session = onnxruntime.InferenceSession(tmp_path / "trunk.onnx", providers=["CPUExecutionProvider"])
    names = [tensor.name for tensor in session.get_inputs()]
    for row in range(3):  # dynamic int8 has one scale a call
        (expected,) = session.run(None, {name: feeds[name][row : row + 1] for name in names})
        np.testing.assert_array_equal(found[row : row + 1], expected)


def test_an_int8_shallow_graph_gives_a_sample_the_same_whoever_shares_its_batch(kept: Pack) -> None:
    feeds = feeds_of_a_step(kept)
    together = run(kept, "shallow", feeds)["prediction"]
    for row in range(3):
        alone = run(kept, "shallow", {name: array[row : row + 1] for name, array in feeds.items()})["prediction"]
        np.testing.assert_array_equal(together[row : row + 1], alone)


def test_a_refused_cache_leaves_the_pack_as_it_would_be_without(refused: Pack) -> None:
    assert refused.manifest.graphs == MINI.manifest.graphs
    assert files_of(refused.folder).keys() == files_of(MINI.folder).keys()


def test_a_refused_cache_is_in_the_pack_with_its_reason(refused: Pack) -> None:
    trial = trial_of(refused)
    assert not trial.kept
    assert trial.reason.startswith("walk_error is 0.")
    with pytest.raises(ConfigError, match=r"at fp32 on onnxruntime: it was refused: walk_error is 0\."):
        check_gate(refused.manifest, CACHE, "onnxruntime")


def test_a_calibrated_shallow_graph_is_near_the_one_in_float32(cut: Pack, tmp_path: Path) -> None:
    writers = Writers(MINI, BACKEND, BACKEND, seed=0)
    out = tmp_path / "shallow.onnx"
    writers.write("int8-static", "shallow", cut.graph("shallow").path, out, trunk=cut.graph("trunk"))
    feeds = feeds_of_a_step(cut)
    import onnxruntime

    session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, feeds)
    assert 0 < relative_error({"prediction": found}, run(cut, "shallow", feeds)) < 0.05


def test_a_pack_that_is_cut_already_is_not_built_upon(cut: Pack, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is cut for a step cache already; build from the pack as it was exported"):
        build_pack(cut, tmp_path / "again", BACKEND)


def test_a_pack_without_a_dit_has_no_step_cache(tmp_path: Path) -> None:
    graphs = {role: entry for role, entry in MINI.manifest.graphs.items() if role in ("encoder", "decoder")}
    codec = Pack(MINI.folder, MINI.manifest.model_copy(update={"denoiser": None, "graphs": graphs}))
    with pytest.raises(ConfigError, match="a step cache needs a DiT, and a codec to judge its images; pack 'mini' has"):
        build_pack(codec, tmp_path / "out", BACKEND, BuildOptions(step_cache=CACHE))
