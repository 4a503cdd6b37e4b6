"""The trunk up to a block, against what a hook on that block of the torch network sees."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("diffusers")
pytest.importorskip("transformers")

from limbeck.errors import ExportError  # noqa: E402
from limbeck.export.features import add_features  # noqa: E402
from limbeck.export.pack import ExportOptions, export_pack  # noqa: E402
from limbeck.pack import Pack, write_manifest  # noqa: E402
from support.pipelines import write_pipeline  # noqa: E402

pytestmark = pytest.mark.torch


def hooked(module, network, *inputs):
    """What `module` gives while `network` runs."""
    seen = []
    handle = module.register_forward_hook(lambda _, __, output: seen.append(output))
    with torch.no_grad():
        network(*inputs)
    handle.remove()
    (output,) = seen
    return output.numpy()


@pytest.fixture(scope="module")
def dit_pipeline(tmp_path_factory, make_dit, save_pipeline):
    dit = make_dit(num_layers=3)
    return dit, save_pipeline(tmp_path_factory.mktemp("dit") / "pipeline", dit)


@pytest.fixture(scope="module", params=[0, 1, 2])
def cut_dit(request, dit_pipeline, tmp_path_factory):
    """A DiT, the block that it is cut after, and the pack."""
    dit, pipeline = dit_pipeline
    folder = tmp_path_factory.mktemp("cut") / "pack"
    export_pack([str(pipeline)], folder, options=ExportOptions(features=request.param))
    return dit, request.param, folder


def test_features_of_a_dit_are_the_tokens_after_the_block_laid_out_as_maps(cut_dit, run):
    dit, block, pack = cut_dit
    rng = np.random.default_rng(1)
    latents = rng.standard_normal((5, 4, 8, 8), dtype=np.float32)
    timestep, class_id = np.array([0, 999, 20, 500, 731]), np.array([10, 3, 9, 0, 10])
    inputs = (torch.tensor(array) for array in (latents, timestep, class_id))
    tokens = hooked(dit.transformer_blocks[block], dit, *inputs)
    expected = tokens.reshape(5, 4, 4, 32).transpose(0, 3, 1, 2)
    modulation = run(pack, "conditioner", timestep=timestep, class_id=class_id)["modulation"]
    found = run(pack, "features", latents=latents, modulation=modulation)["features"]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=2e-4)


def test_the_trunk_is_what_it_was_and_both_share_its_weights(dit_pipeline, tmp_path):
    _, pipeline = dit_pipeline
    whole = export_pack([str(pipeline)], tmp_path / "whole")
    export_pack([str(pipeline)], tmp_path / "cut")
    made = add_features(tmp_path / "cut", block=1)
    trunk, features = made.graphs["trunk"], made.graphs["features"]
    assert trunk.canonical.digest == whole.graphs["trunk"].canonical.digest
    assert trunk.external == features.external != ()
    grown = sum(file.nbytes for file in made.files.values()) - sum(file.nbytes for file in whole.files.values())
    assert grown < 2 * made.files[features.file].nbytes, "nodes, and where each weight lies"
    assert Pack.open(tmp_path / "cut").verify() == len(made.files)


def test_weights_that_lie_beside_the_trunk_already_are_not_moved(dit_pipeline, tmp_path):
    _, pipeline = dit_pipeline
    before = export_pack([str(pipeline)], tmp_path / "pack", options=ExportOptions(external_above_nbytes=0))
    made = add_features(tmp_path / "pack", block=0)
    (data,) = before.graphs["trunk"].external
    assert made.graphs["features"].external == (data,)
    assert made.files[data] == before.files[data]


def test_half_precision_storage_is_cut_as_well(dit_pipeline, tmp_path):
    _, pipeline = dit_pipeline
    made = export_pack([str(pipeline)], tmp_path / "pack", options=ExportOptions(weights="float16", features=1))
    assert made.graphs["features"].outputs[0].shape == ("batch", 32, 4, 4)


@pytest.mark.parametrize("block", [-1, 3])
def test_a_block_that_is_not_there_is_refused_and_the_pack_stays_as_it_was(dit_pipeline, tmp_path, block):
    _, pipeline = dit_pipeline
    export_pack([str(pipeline)], tmp_path / "pack")
    before = {path: path.read_bytes() for path in (tmp_path / "pack").rglob("*") if path.is_file()}
    with pytest.raises(ExportError, match=rf"the DiT has the blocks 0 to 2, features of block {block}"):
        add_features(tmp_path / "pack", block=block)
    after = {path: path.read_bytes() for path in (tmp_path / "pack").rglob("*") if path.is_file()}
    assert after == before


def test_an_export_for_a_block_that_is_not_there_leaves_no_pack(dit_pipeline, tmp_path):
    _, pipeline = dit_pipeline
    with pytest.raises(ExportError, match="features of block 9"):
        export_pack([str(pipeline)], tmp_path / "pack", options=ExportOptions(features=9))
    assert list(tmp_path.iterdir()) == []


def test_a_pack_has_one_features_graph(cut_dit):
    _, _, pack = cut_dit
    with pytest.raises(ExportError, match="has a features graph already"):
        add_features(pack, block=0)


@pytest.fixture(scope="module")
def unet_pack(tmp_path_factory):
    """A UNet of two levels, and its pack with the features of up block 0."""
    import diffusers

    folder = tmp_path_factory.mktemp("unet")
    pipeline = write_pipeline(folder / "pipeline")
    export_pack([str(pipeline)], folder / "pack", options=ExportOptions(features=0))
    return diffusers.UNet2DConditionModel.from_pretrained(pipeline / "unet").eval(), folder / "pack"


def test_features_of_a_unet_are_what_leaves_the_up_block(unet_pack, run):
    unet, pack = unet_pack
    rng = np.random.default_rng(1)
    latents = rng.standard_normal((3, 4, 16, 16), dtype=np.float32)
    timestep = np.array([0, 161, 999])
    states = rng.standard_normal((3, 77, 32), dtype=np.float32)
    expected = hooked(unet.up_blocks[0], unet, *(torch.tensor(array) for array in (latents, timestep, states)))
    keys_values = run(pack, "conditioner", states=states)["keys_values"]
    found = run(pack, "features", latents=latents, timestep=timestep, keys_values=keys_values)["features"]
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=2e-4)


def test_the_last_up_block_of_a_unet_has_no_features_to_take(unet_pack, tmp_path):
    _, pack = unet_pack
    folder = shutil.copytree(pack, tmp_path / "pack")
    manifest = Pack.open(folder).manifest
    graphs = {role: entry for role, entry in manifest.graphs.items() if role != "features"}
    write_manifest(folder, manifest.model_copy(update={"graphs": graphs}))
    with pytest.raises(ExportError, match="up blocks 0 to 1, of which 0 to 0 have features to take; block 1"):
        add_features(folder, block=1)
