import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from limbeck.backends.base import GraphSpec  # noqa: E402
from limbeck.backends.onnxruntime import OnnxRuntime  # noqa: E402
from limbeck.diffusion.denoiser import ClassCondition, DitDenoiser  # noqa: E402
from limbeck.diffusion.pack_check import check_denoiser  # noqa: E402
from limbeck.diffusion.step_cache import CachedDitDenoiser, StepCache  # noqa: E402
from limbeck.engine import compile  # noqa: E402
from limbeck.errors import ExportError, PackError  # noqa: E402
from limbeck.export.step_cache import add_shallow  # noqa: E402
from limbeck.models import open_models  # noqa: E402
from limbeck.pack import Pack, file_entry, write_manifest  # noqa: E402

pytestmark = pytest.mark.torch

ROLES = ("conditioner", "trunk", "shallow")


@pytest.fixture(params=["inside", "beside"])
def pack(request, tmp_path):
    """The shipped pack, its trunk's weights inside the graph, or in a file beside it."""
    folder = shutil.copytree(Pack.open("mini").folder, tmp_path / "pack")
    if request.param == "beside":
        _move_weights_out(folder)
    return folder


def _move_weights_out(pack):
    manifest = Pack.open(pack).manifest
    trunk = manifest.graphs["trunk"]
    weights = f"{trunk.file}.data"
    onnx.save(onnx.load(pack / trunk.file), pack / trunk.file, save_as_external_data=True, location=Path(weights).name)
    graphs = {**manifest.graphs, "trunk": trunk.model_copy(update={"external": (weights,)})}
    files = manifest.files | {name: file_entry(pack / name) for name in (trunk.file, weights)}
    write_manifest(pack, manifest.model_copy(update={"graphs": graphs, "files": files}))


def latents(batch):
    return np.random.default_rng(2).standard_normal(
        (batch, *Pack.open("mini").manifest.denoiser.latent_shape), np.float32
    )


def feeds(run, pack, batch=5):
    rng = np.random.default_rng(1)
    modulation = run(pack, "conditioner", timestep=rng.integers(0, 1000, batch), class_id=rng.integers(0, 11, batch))
    return {"latents": latents(batch), **modulation}


def files(pack, pattern="*"):
    return {path.relative_to(pack): path.read_bytes() for path in pack.rglob(pattern) if path.is_file()}


@pytest.mark.parametrize(("first", "last"), [(1, 1), (2, 1), (1, 0), (0, 3)])
def test_outer_blocks_and_the_middle_are_the_whole_trunk(pack, run, first, last):
    given = feeds(run, pack)
    whole = run(pack, "trunk", **given)["prediction"]
    add_shallow(pack, first=first, last=last)
    made = run(pack, "trunk", **given)
    np.testing.assert_array_equal(made["prediction"], whole)
    found = run(pack, "shallow", **given, middle=made["middle"])["prediction"]
    np.testing.assert_allclose(found, whole, rtol=1e-3, atol=1e-5)


def test_the_shallow_graph_has_the_outer_blocks_only(pack):
    add_shallow(pack, first=1, last=0)
    shallow = onnx.load(pack / Pack.open(pack).manifest.graphs["shallow"].file, load_external_data=False).graph
    assert [node.op_type for node in shallow.node].count("MultiHeadAttention") == 1


def test_the_cut_pack_is_whole(pack):
    add_shallow(pack)
    Pack.open(pack).verify()


def test_weights_beside_the_graphs_are_stored_once(pack):
    weights = files(pack, "*.data")
    add_shallow(pack)
    assert files(pack, "*.data") == weights


def test_full_at_every_step_is_the_uncut_network_bit_for_bit(pack):
    def engines(*roles):
        return [compile(Pack.open(pack).graph(role), OnnxRuntime()) for role in roles]

    times, condition = np.array([900, 10, 500, 500, 0]), ClassCondition(np.array([0, 10, 3, 3, 9]))
    info = Pack.open(pack).manifest.denoiser
    expected = DitDenoiser(info, *engines("conditioner", "trunk"), bucket=4)(latents(5), times, condition)
    add_shallow(pack)
    cached = CachedDitDenoiser(info, *engines("conditioner", "trunk", "shallow"), cache=StepCache(every=1), bucket=4)
    walks = np.stack([times - step for step in range(26)])
    np.testing.assert_array_equal(cached(latents(5), times, cached.begin(condition, walks)), expected, strict=True)


def test_a_cut_pack_opens_and_predicts_as_before_when_no_cache_is_asked_for(pack):
    def predicted():
        with open_models(Pack.open(pack), OnnxRuntime(), bucket=4) as models:
            return models.denoiser(latents(3), np.array([900, 500, 10]), models.conditioning.null(3))

    before = predicted()
    add_shallow(pack)
    np.testing.assert_array_equal(predicted(), before, strict=True)


def test_graphs_that_fit_together_pass_the_check_of_a_pack(pack):
    add_shallow(pack)
    opened = Pack.open(pack)
    check_denoiser("mini", opened.manifest.denoiser, {role: opened.graph(role) for role in ROLES})


def test_a_shallow_graph_of_another_middle_is_refused(pack):
    add_shallow(pack)
    opened = Pack.open(pack)
    graphs = {role: opened.graph(role) for role in ROLES}
    *inputs, middle = graphs["shallow"].spec.inputs
    other = GraphSpec((*inputs, replace(middle, shape=("batch", 16, 256))), graphs["shallow"].spec.outputs)
    with pytest.raises(PackError, match=r"its shallow has the inputs .* middle: float32"):
        check_denoiser("mini", opened.manifest.denoiser, graphs | {"shallow": replace(graphs["shallow"], spec=other)})


@pytest.mark.parametrize("ends", [(2, 2), (4, 0), (-1, 1)])
def test_ends_that_leave_no_middle_are_refused_and_nothing_is_changed(pack, ends):
    before = files(pack)
    with pytest.raises(ExportError, match=r"first and .* last of 4 blocks leave none between"):
        add_shallow(pack, first=ends[0], last=ends[1])
    assert files(pack) == before


def test_a_second_cut_is_refused(pack):
    add_shallow(pack)
    with pytest.raises(ExportError, match="has a shallow graph already"):
        add_shallow(pack)


def test_a_trunk_of_another_precision_is_refused(pack):
    manifest = Pack.open(pack).manifest
    trunk = manifest.graphs["trunk"].model_copy(update={"precision": "fp16"})
    write_manifest(pack, manifest.model_copy(update={"graphs": {**manifest.graphs, "trunk": trunk}}))
    with pytest.raises(ExportError, match="is fp16; cut the fp32 pack, then make both graphs fp16"):
        add_shallow(pack)


def test_a_pack_without_a_dit_is_refused(pack):
    manifest = Pack.open(pack).manifest
    write_manifest(pack, manifest.model_copy(update={"denoiser": None}))
    with pytest.raises(ExportError, match="has no DiT"):
        add_shallow(pack)
