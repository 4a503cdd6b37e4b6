"""Packs built from the shipped one."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from limbeck.backends.onnxruntime import OnnxRuntime
from limbeck.build.build import BuildOptions, build_pack
from limbeck.errors import BudgetError, ConfigError, OutputError, QualityError
from limbeck.models import open_models
from limbeck.pack import Pack
from support.cli import files_of

pytestmark = [
    pytest.mark.torch,
    pytest.mark.skipif(
        not (find_spec("onnx") and find_spec("onnx_ir")), reason="needs the export extra (onnx, onnx_ir)"
    ),
]

MINI = Pack.open("mini")
BACKEND = OnnxRuntime()


def options(**settings) -> BuildOptions:
    return BuildOptions(**{"roles": ("trunk",), "bucket": 4, "quick": True, "timing_seconds": 0.05, **settings})


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    before = files_of(MINI.folder)
    out = tmp_path_factory.mktemp("built") / "mini-int8"
    build_pack(MINI, out, BACKEND, options(precision="int8"))
    assert files_of(MINI.folder) == before, "the source was changed"
    return Pack.open(out)


def test_the_graph_that_was_asked_for_is_in_the_new_pack(built: Pack) -> None:
    precisions = {role: graph.precision for role, graph in built.manifest.graphs.items()}
    assert precisions == {**dict.fromkeys(MINI.manifest.graphs, "fp32"), "trunk": "int8"}


def test_every_file_of_the_new_pack_is_listed_and_whole(built: Pack) -> None:
    found = set(files_of(built.folder)) - {"pack.json"}
    assert found == set(built.manifest.files)
    assert built.verify() == len(found)


def test_the_recipe_is_in_the_manifest(built: Pack) -> None:
    assert built.manifest.graphs["trunk"].recipe["num_quantized"] == 24


def test_the_trial_has_figures_and_limits_under_the_same_names(built: Pack) -> None:
    (trial,) = built.manifest.trials
    assert trial.kept
    assert {
        "seconds",
        "fp32_seconds",
        "peak_nbytes",
        "file_nbytes",
        "noise_error",
        "score_rank",
    } <= trial.figures.keys()
    assert trial.limits.keys() <= trial.figures.keys()


def test_an_int8_trunk_takes_a_fraction_of_the_disk_that_float32_would(built: Pack) -> None:
    entry = built.manifest.graphs["trunk"]
    stored = sum(built.manifest.files[name].nbytes for name in (entry.file, *entry.external))
    before = MINI.manifest.graphs["trunk"]
    float16 = sum(MINI.manifest.files[name].nbytes for name in (before.file, *before.external))
    assert stored < 0.6 * float16


def test_the_new_pack_denoises(built: Pack) -> None:
    with open_models(built, BACKEND, bucket=2) as models:
        noise = np.random.default_rng(0).standard_normal((2, *models.latent_shape), dtype=np.float32)
        found = models.denoiser(noise, np.full(2, 999), models.conditioning.of_classes(["1", "2"]))
    # at the last time a latent is almost pure noise, so its noise is itself
    assert np.corrcoef(found.ravel(), noise.ravel())[0, 1] > 0.9


def test_a_precision_that_the_gate_refuses_leaves_no_pack(tmp_path: Path) -> None:
    with pytest.raises(QualityError, match=r"noise_error is .* must be at most 0.03") as refused:
        build_pack(MINI, tmp_path / "w4", BACKEND, options(precision="w4"))
    assert refused.value.figures["noise_error"] > refused.value.limits["noise_error"]
    assert list(tmp_path.iterdir()) == []


def test_a_budget_that_nothing_fits_is_refused_with_what_would_fit(tmp_path: Path) -> None:
    with pytest.raises(BudgetError, match="no precision of the trunk fits 1 MiB") as refused:
        build_pack(MINI, tmp_path / "small", BACKEND, options(precision="int8", budget_nbytes=2**20))
    assert refused.value.needed_nbytes > 2**20
    assert refused.value.largest_part == "trunk"


def test_a_precision_that_no_layer_can_have_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing to quantize"):
        build_pack(MINI, tmp_path / "w8", BACKEND, options(precision="w8", roles=("decoder",)))


def test_a_pack_that_was_built_is_not_built_upon(built: Pack, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has its trunk in another precision already"):
        build_pack(built, tmp_path / "again", BACKEND, options())


def test_a_role_that_the_pack_does_not_have_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no text_encoder; it has: conditioner, trunk"):
        build_pack(MINI, tmp_path / "text", BACKEND, options(roles=("text_encoder",)))


def test_a_folder_that_exists_is_not_written_to(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="exists"):
        build_pack(MINI, tmp_path, BACKEND, options())
