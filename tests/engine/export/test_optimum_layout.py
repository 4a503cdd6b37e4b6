"""What `--layout optimum` writes has the names and shapes that optimum-onnx 0.1 reads, and is the same pipeline.

That its ORTStableDiffusionPipeline makes diffusers' images of it was measured by hand; see docs/explanation/export.md.
"""

import json

import numpy as np
import onnxruntime
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("diffusers")
transformers = pytest.importorskip("transformers")

from limbeck.backends.onnxruntime import OnnxRuntime  # noqa: E402
from limbeck.errors import ExportError, OutputError  # noqa: E402
from limbeck.export.pack import export_optimum, export_pack  # noqa: E402
from limbeck.models import open_models  # noqa: E402
from limbeck.pack import Pack  # noqa: E402

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def layout(tmp_path_factory, sd_source):
    folder = tmp_path_factory.mktemp("layout") / "optimum"
    export_optimum(str(sd_source), folder)
    return folder


def ends(layout, part):
    session = onnxruntime.InferenceSession(layout / part / "model.onnx", providers=["CPUExecutionProvider"])
    return [[(end.name, len(end.shape)) for end in side] for side in (session.get_inputs(), session.get_outputs())]


@pytest.mark.parametrize(
    ("part", "inputs", "outputs"),
    [
        ("unet", [("sample", 4), ("timestep", 0), ("encoder_hidden_states", 3)], [("out_sample", 4)]),
        ("text_encoder", [("input_ids", 2)], [("last_hidden_state", 3)]),
        ("vae_encoder", [("sample", 4)], [("latent_parameters", 4)]),
        ("vae_decoder", [("latent_sample", 4)], [("sample", 4)]),
    ],
)
def test_graphs_have_optimums_names(layout, part, inputs, outputs):
    assert ends(layout, part) == [inputs, outputs]


def test_every_part_has_its_config_beside_it(layout):
    configs = {part: json.loads((layout / part / "config.json").read_text()) for part in ("unet", "vae_decoder")}
    assert {part: config["_class_name"] for part, config in configs.items()} == {
        "unet": "UNet2DConditionModel",
        "vae_decoder": "AutoencoderKL",
    }


def test_the_tokenizer_is_read_by_the_class_that_the_index_names(layout):
    library, name = json.loads((layout / "model_index.json").read_text())["tokenizer"]
    assert library == "transformers"
    tokenizer = getattr(transformers, name).from_pretrained(layout / "tokenizer")
    assert tokenizer.tokenize("the cat") == ["the</w>", "cat</w>"]


def test_the_unet_takes_any_size(layout):
    session = onnxruntime.InferenceSession(layout / "unet/model.onnx", providers=["CPUExecutionProvider"])
    sample = np.zeros((1, 4, 20, 34), np.float32)
    states = np.zeros((1, 77, 32), np.float32)
    feeds = {"sample": sample, "timestep": np.array(5), "encoder_hidden_states": states}
    assert session.run(None, feeds)[0].shape == sample.shape


def test_a_pack_that_is_imported_from_it_is_the_pack_of_the_source(layout, sd_pack, tmp_path, rng):
    export_pack([f"optimum:{layout}"], tmp_path / "pack")
    latents, times = rng.standard_normal((3, 4, 16, 16)).astype(np.float32), np.array([7, 999, 7])
    made = []
    for folder in (tmp_path / "pack", sd_pack):
        with open_models(Pack.open(folder), OnnxRuntime(), bucket=2) as models:
            noise = models.denoiser(latents, times, models.conditioning.of_classes(["cat", "dog", "the cat"]))
            made.append((noise, models.codec.decode(latents), models.codec.encode(models.codec.decode(latents))))
    for found, expected in zip(*made, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_a_source_without_a_unet_is_refused(tmp_path, make_codec):
    make_codec("tiny").save_pretrained(tmp_path / "vae")
    with pytest.raises(ExportError, match="cannot be written in optimum's layout, which limbeck knows for Stable Diff"):
        export_optimum(str(tmp_path / "vae"), tmp_path / "out")


def test_an_existing_folder_is_left_alone(tmp_path):
    with pytest.raises(OutputError, match="exists"):
        export_optimum("anything", tmp_path)
