import json
import shutil

import numpy as np
import pytest

pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
pytest.importorskip("diffusers")
pytest.importorskip("transformers")
pytest.importorskip("tokenizers")

from limbeck.backends.onnxruntime import OnnxRuntime  # noqa: E402
from limbeck.errors import ExportError  # noqa: E402
from limbeck.export.pack import ExportOptions, export_pack  # noqa: E402
from limbeck.models import open_models  # noqa: E402
from limbeck.pack import Pack  # noqa: E402
from limbeck.text.tokenizer import Tokenizer  # noqa: E402
from support.optimum import table, write_optimum  # noqa: E402

pytestmark = pytest.mark.torch

TIMES = np.array([0, 999, 500, 0])
PROMPTS = ["cat", "the dog", "cat", ""]


@pytest.fixture(scope="module", params=[(), (1,), ("steps",)], ids=["one time", "one time in a row", "times"])
def pack(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("optimum")
    export_pack([f"optimum:{write_optimum(folder / 'source', times=request.param)}"], folder / "pack")
    return Pack.open(folder / "pack")


@pytest.fixture
def latents(rng):
    return rng.standard_normal((4, 4, 8, 8)).astype(np.float32)


def noise(pack, latents):
    """What the hand-made graphs predict: sample + timestep / 1000 + the mean state."""
    ids = Tokenizer(pack.folder / "tokenizer/tokenizer.json", tokens=77)(PROMPTS)
    states = table(int(ids.max()) + 1)[ids].mean(axis=(1, 2))
    return latents + (TIMES / 1000 + states)[:, None, None, None]


def predicted(pack, latents):
    with open_models(pack, OnnxRuntime(), bucket=3) as models:
        return models.denoiser(latents, TIMES, models.conditioning.of_classes(PROMPTS))


def test_each_sample_has_its_time_and_its_prompt(pack, latents):
    found = predicted(pack, latents)
    np.testing.assert_allclose(found, noise(pack, latents), rtol=1e-5, atol=1e-5)


def test_the_vae_makes_and_takes_latents_of_unit_variance(pack, rng):
    """Averages of two pixels in [-1, 1], scaled by the config's 0.5; the log variance is the first channels again."""
    images = rng.random((2, 3, 16, 16)).astype(np.float32).repeat(2, axis=2)[:, :, :16].repeat(2, axis=3)[..., :16]
    with open_models(pack, OnnxRuntime(), bucket=2) as models:
        mean, std = models.codec.posterior(images)
        back = models.codec.decode(mean)
    raw = (2 * images - 1).reshape(2, 3, 8, 2, 8, 2).mean(axis=(3, 5))
    np.testing.assert_allclose(mean[:, :3], raw * 0.5, atol=1e-6)
    np.testing.assert_allclose(std[:, 0], np.exp(raw[:, 1] / 2) * 0.5, rtol=1e-5)
    np.testing.assert_allclose(back, (raw.repeat(2, axis=2).repeat(2, axis=3) + 1) / 2, atol=1e-6)


def test_the_pack_says_that_its_unet_is_whole(pack):
    manifest = pack.manifest
    assert (manifest.denoiser.cut, "conditioner" in manifest.graphs, manifest.image_size) == (False, False, 16)


def test_the_source_is_recorded_without_its_place_on_this_machine(pack):
    assert pack.manifest.sources == {"denoiser": "optimum:source", "codec": "optimum:source"}


def test_outputs_that_nobody_takes_are_gone(pack):
    assert [tensor.name for tensor in pack.manifest.graphs["text_encoder"].outputs] == ["states"]


def test_half_precision_is_fed_and_read_in_float32(tmp_path, latents):
    export_pack([f"optimum:{write_optimum(tmp_path / 'source', half=True)}"], tmp_path / "pack")
    pack = Pack.open(tmp_path / "pack")
    np.testing.assert_allclose(predicted(pack, latents), noise(pack, latents), rtol=1e-2, atol=1e-2)


def test_weights_beside_the_source_are_brought_along(tmp_path, latents):
    """As optimum writes graphs beyond 2 GB."""
    path = write_optimum(tmp_path / "source") / "text_encoder/model.onnx"
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="model.onnx_data", size_threshold=1024)
    export_pack([f"optimum:{tmp_path / 'source'}"], tmp_path / "pack")
    shutil.rmtree(tmp_path / "source")
    pack = Pack.open(tmp_path / "pack")
    np.testing.assert_allclose(predicted(pack, latents), noise(pack, latents), rtol=1e-5, atol=1e-5)


def refused(folder, message, **settings):
    with pytest.raises(ExportError, match=message):
        export_pack([f"optimum:{folder}"], folder.parent / "pack", options=ExportOptions(**settings))


def test_a_folder_without_graphs_is_refused(tmp_path):
    refused(tmp_path / "none", "is no Stable Diffusion in optimum-onnx's layout: .* `optimum-cli export onnx`")


def test_a_batch_that_is_fixed_is_refused(tmp_path):
    refused(write_optimum(tmp_path / "source", batch=2), r"cannot be fed token_ids.*; export it with free sizes")


def test_another_network_is_refused_by_its_class(tmp_path):
    path = write_optimum(tmp_path / "source") / "unet/config.json"
    path.write_text(json.dumps({"_class_name": "FluxTransformer2DModel"}))
    refused(tmp_path / "source", "is a FluxTransformer2DModel; limbeck imports a UNet2DConditionModel there")


def test_another_graph_is_refused_by_its_inputs(tmp_path):
    source = write_optimum(tmp_path / "source")
    (source / "unet/model.onnx").write_bytes((source / "vae_decoder/model.onnx").read_bytes())
    refused(source, "has the inputs latent_sample and the outputs sample; limbeck imports graphs of optimum-onnx with")


def test_a_file_that_is_no_graph_is_refused(tmp_path):
    source = write_optimum(tmp_path / "source")
    (source / "text_encoder/model.onnx").write_bytes(b"\xff" * 10)
    refused(source, "cannot read .* as a graph")


def test_finished_graphs_are_not_rounded(tmp_path):
    refused(
        write_optimum(tmp_path / "source"), "whose weights stay as they are; leave --weights out", weights="float16"
    )
