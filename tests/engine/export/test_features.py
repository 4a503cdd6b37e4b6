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


def without_features(pack):
    """The pack as it was before, but that the trunk's weights lie beside it."""
    manifest = Pack.open(pack).manifest
    graphs = {role: entry for role, entry in manifest.graphs.items() if role != "features"}
    write_manifest(pack, manifest.model_copy(update={"graphs": graphs}))
    return pack


@pytest.fixture(scope="module")
def dit_pack(tmp_path_factory, make_dit, save_pipeline):
    """A DiT of three blocks, its pipeline, and its pack without features."""
    folder = tmp_path_factory.mktemp("dit")
    dit = make_dit(num_layers=3)
    pipeline = save_pipeline(folder / "pipeline", dit)
    export_pack([str(pipeline)], folder / "pack")
    return dit, pipeline, folder / "pack"


@pytest.mark.parametrize("block", [0, 1, 2])
def test_features_of_a_dit_are_the_tokens_after_the_block_laid_out_as_maps(dit_pack, run, tmp_path, block):
    dit, _, whole = dit_pack
    pack = shutil.copytree(whole, tmp_path / "pack")
    add_features(pack, block=block)
    rng = np.random.default_rng(1)
    latents = rng.standard_normal((5, 4, 8, 8), dtype=np.float32)
    timestep, class_id = np.array([0, 999, 20, 500, 731]), np.array([10, 3, 9, 0, 10])
    inputs = (torch.tensor(array) for array in (latents, timestep, class_id))
    tokens = hooked(dit.transformer_blocks[block], dit, *inputs)
    expected = tokens.reshape(5, 4, 4, 32).transpose(0, 3, 1, 2)
    modulation = run(pack, "conditioner", timestep=timestep, class_id=class_id)["modulation"]
    found = run(pack, "features", latents=latents, modulation=modulation)["features"]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=2e-4)


def test_the_trunk_computes_what_it_did_and_both_share_its_weights(dit_pack, tmp_path):
    _, _, whole = dit_pack
    before = Pack.open(whole).manifest
    pack = shutil.copytree(whole, tmp_path / "pack")
    made = add_features(pack, block=1)
    trunk, features = made.graphs["trunk"], made.graphs["features"]
    assert trunk.canonical.digest == before.graphs["trunk"].canonical.digest
    assert trunk.external == features.external != ()
    grown = sum(file.nbytes for file in made.files.values()) - sum(file.nbytes for file in before.files.values())
    assert grown < 2 * made.files[features.file].nbytes, "nodes, and where each weight lies"
    assert Pack.open(pack).verify() == len(made.files)


def test_weights_that_lie_beside_the_trunk_already_are_not_moved(dit_pack, tmp_path):
    _, _, whole = dit_pack
    pack = shutil.copytree(whole, tmp_path / "pack")
    first = add_features(pack, block=1)
    again = add_features(without_features(pack), block=0)
    (data,) = first.graphs["trunk"].external
    assert again.graphs["features"].external == (data,)
    assert again.files[data] == first.files[data]


def test_an_export_may_ask_for_them_with_weights_in_half_precision(dit_pack, tmp_path):
    _, pipeline, _ = dit_pack
    made = export_pack([str(pipeline)], tmp_path / "pack", options=ExportOptions(weights="float16", features=1))
    assert made.graphs["features"].outputs[0].shape == ("batch", 32, 4, 4)
    assert Pack.open(tmp_path / "pack").manifest == made


@pytest.mark.parametrize("block", [-1, 3])
def test_a_block_that_is_not_there_is_refused_and_the_pack_stays_as_it_was(dit_pack, block):
    _, _, pack = dit_pack
    before = {path: path.read_bytes() for path in pack.rglob("*") if path.is_file()}
    with pytest.raises(ExportError, match=rf"the DiT has the blocks 0 to 2, features of block {block}"):
        add_features(pack, block=block)
    assert {path: path.read_bytes() for path in pack.rglob("*") if path.is_file()} == before


def test_an_export_for_a_block_that_is_not_there_leaves_no_pack(dit_pack, tmp_path):
    _, pipeline, _ = dit_pack
    with pytest.raises(ExportError, match="features of block 9"):
        export_pack([str(pipeline)], tmp_path / "pack", options=ExportOptions(features=9))
    assert list(tmp_path.iterdir()) == []


def test_a_pack_has_one_features_graph(dit_pack, tmp_path):
    _, _, whole = dit_pack
    pack = shutil.copytree(whole, tmp_path / "pack")
    add_features(pack, block=0)
    with pytest.raises(ExportError, match="has a features graph already"):
        add_features(pack, block=1)


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
    with pytest.raises(ExportError, match="up blocks 0 to 1, of which 0 to 0 have features to take; block 1"):
        add_features(without_features(shutil.copytree(pack, tmp_path / "pack")), block=1)
