import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
diffusers = pytest.importorskip("diffusers")
pytest.importorskip("transformers")

from limbeck.errors import ExportError  # noqa: E402
from limbeck.export.pack import ExportOptions, export_pack  # noqa: E402
from limbeck.export.sources import load_networks  # noqa: E402
from limbeck.export.unet import cross_attentions, describe_unet, tabled  # noqa: E402
from limbeck.pack import Pack  # noqa: E402
from support.pipelines import SD15_CODEC, SD15_TEXT, SD15_UNET, write_pipeline  # noqa: E402

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def unet(sd_source):
    return diffusers.UNet2DConditionModel.from_pretrained(sd_source, subfolder="unet", low_cpu_mem_usage=False).eval()


def model(pack, role):
    return onnx.load(pack / Pack.open(pack).manifest.graphs[role].file)


def describe(unet, prediction="epsilon"):
    states = unet.config.cross_attention_dim
    return describe_unet(unet, ExportOptions(), tokens=77, states=states, prediction=prediction)


def test_conditioner_and_trunk_together_are_the_whole_network(sd_pack, unet, run):
    rng = np.random.default_rng(1)
    latents = rng.standard_normal((5, 4, 16, 16), dtype=np.float32)
    states = rng.standard_normal((5, 77, 32), dtype=np.float32)
    timestep = np.array([0, 999, 20, 500, 731])
    condition = run(sd_pack, "conditioner", states=states)
    found = run(sd_pack, "trunk", latents=latents, timestep=timestep, **condition)["prediction"]
    with torch.no_grad():
        expected = unet(torch.tensor(latents), torch.tensor(timestep), torch.tensor(states)).sample
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_every_cross_attention_has_its_keys_then_its_values_in_one_row(sd_pack, unet, run):
    states = np.random.default_rng(2).standard_normal((1, 77, 32), dtype=np.float32)
    projections = [layer for attention in cross_attentions(unet) for layer in (attention.to_k, attention.to_v)]
    with torch.no_grad():
        expected = torch.cat([project(torch.tensor(states)) for project in projections], dim=2)
    np.testing.assert_allclose(run(sd_pack, "conditioner", states=states)["keys_values"], expected, atol=1e-5)


def test_attention_is_one_node_each_and_never_a_softmax(sd_pack, unet):
    found = [node.op_type for node in model(sd_pack, "trunk").graph.node]
    attentions = 2 * len(cross_attentions(unet))
    assert (found.count("MultiHeadAttention"), found.count("Softmax")) == (attentions, 0)


def test_the_trunk_keeps_nothing_that_only_the_prompt_needs(sd_pack, unet):
    projections = sum(a.to_k.weight.numel() + a.to_v.weight.numel() for a in cross_attentions(unet))
    own = sum(weight.numel() for weight in unet.parameters()) - projections
    stored = sum(np.prod(tensor.dims) for tensor in model(sd_pack, "trunk").graph.initializer)
    assert stored < own + projections / 10


def test_the_networks_own_attention_is_restored_after_an_error(unet):
    before = [attention.processor for attention in cross_attentions(unet)]
    with pytest.raises(RuntimeError, match="inside"), tabled(unet):
        raise RuntimeError("inside")
    assert [attention.processor for attention in cross_attentions(unet)] == before


def test_the_manifest_describes_the_denoiser(sd_pack):
    manifest = Pack.open(sd_pack).manifest
    info = manifest.denoiser
    assert (info.kind, info.latent_shape, info.tokens, info.cut) == ("unet", (4, 16, 16), 77, True)
    assert manifest.image_size == 32


def test_the_prompts_can_be_chosen(sd_source):
    options = ExportOptions(prompt="a photo of {name}", null_prompt="cartoon, anime, painting")
    info = load_networks([str(sd_source)], options).denoiser.info
    assert (info.prompt, info.null_prompt) == ("a photo of {name}", "cartoon, anime, painting")


def test_a_prompt_without_the_class_is_refused(sd_source, tmp_path):
    with pytest.raises(ExportError, match=r"prompt 'a photo' has no \{name\}; every class would have the same prompt"):
        export_pack([str(sd_source)], tmp_path / "pack", options=ExportOptions(prompt="a photo"))


def test_what_the_network_predicts_is_in_the_manifest_and_the_schedule_is_walked_by_noise(tmp_path):
    source = write_pipeline(tmp_path / "pipeline", prediction_type="v_prediction")
    denoiser = load_networks([str(source)], ExportOptions()).denoiser
    assert (denoiser.info.prediction, "prediction_type" in denoiser.schedule) == ("v_prediction", False)


def test_a_prediction_of_the_clean_latent_is_refused(unet):
    with pytest.raises(ExportError, match="predicts 'sample'; limbeck exports epsilon and v_prediction"):
        describe(unet, prediction="sample")


@pytest.fixture
def make_unet():
    def make(**settings):
        small = {
            "sample_size": 8,
            "block_out_channels": (8,),
            "down_block_types": ("CrossAttnDownBlock2D",),
            "up_block_types": ("CrossAttnUpBlock2D",),
            "layers_per_block": 1,
            "cross_attention_dim": 16,
            "attention_head_dim": 2,
            "norm_num_groups": 4,
        }
        return diffusers.UNet2DConditionModel(**small | settings)

    return make


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_class_embeds": 10}, "conditioned on more than time and text: num_class_embeds=10"),
        ({"time_cond_proj_dim": 8}, "conditioned on more than time and text: time_cond_proj_dim=8"),
        ({"in_channels": 9}, "9 channels in and 4 out needs more than a latent, as networks for inpainting do"),
        (
            {
                "down_block_types": ("DownBlock2D",),
                "up_block_types": ("UpBlock2D",),
                "mid_block_type": "UNetMidBlock2D",
            },
            "the UNet has no cross attention",
        ),
    ],
    ids=["classes", "guidance embedding", "inpainting", "no text"],
)
def test_a_unet_that_takes_more_or_less_than_text_is_refused(make_unet, settings, message):
    with pytest.raises(ExportError, match=message):
        describe(make_unet(**settings))


def test_latents_need_not_be_square(make_unet):
    assert describe(make_unet(sample_size=(8, 12))).latent_shape == (4, 8, 12)


def test_another_layout_of_the_network_keeps_its_promise(tmp_path):
    """Linear projections and velocities as in SD 2; deeper, and not square."""
    layout = {
        "block_out_channels": (8,),
        "down_block_types": ("CrossAttnDownBlock2D",),
        "up_block_types": ("CrossAttnUpBlock2D",),
        "attention_head_dim": (2,),
        "norm_num_groups": 4,
        "transformer_layers_per_block": 2,
        "use_linear_projection": True,
        "upcast_attention": True,
        "sample_size": (8, 12),
    }
    source = write_pipeline(tmp_path / "pipeline", unet=layout, prediction_type="v_prediction")
    index = json.loads((source / "model_index.json").read_text())
    del index["vae"]
    (source / "model_index.json").write_text(json.dumps(index))
    manifest = export_pack([str(source)], tmp_path / "pack")
    assert manifest.graphs["trunk"].parity < 1e-4


def test_a_text_encoder_of_another_width_is_refused(tmp_path):
    source = write_pipeline(tmp_path / "pipeline", unet={"cross_attention_dim": 48})
    with pytest.raises(ExportError, match="attends to states of 48 numbers, the text encoder makes 32"):
        load_networks([str(source)], ExportOptions())


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"text_encoder_2": ["transformers", "CLIPTextModelWithProjection"]}, "text_encoder_2 CLIPTextModelWith"),
        ({"text_encoder": ["transformers", "T5EncoderModel"]}, "text_encoder T5EncoderModel"),
        ({"text_encoder": [None, None]}, "none"),
    ],
    ids=["two", "T5", "none"],
)
def test_text_encoders_that_limbeck_cannot_export_are_refused_before_a_weight_is_read(tmp_path, change, found):
    index = {
        "_class_name": "StableDiffusionPipeline",
        "unet": ["diffusers", "UNet2DConditionModel"],
        "text_encoder": ["transformers", "CLIPTextModel"],
    }
    (tmp_path / "model_index.json").write_text(json.dumps(index | change))
    with pytest.raises(
        ExportError, match=f"has the text encoders: .*{found}.*; limbeck exports a UNet2DConditionModel"
    ):
        load_networks([str(tmp_path)], ExportOptions())


@pytest.mark.full_size
def test_stable_diffusion_at_full_size_keeps_its_promise(tmp_path):
    """Needs 9 GB of memory and 8 GB of disk; the weights are random."""
    source = write_pipeline(tmp_path / "pipeline", unet=SD15_UNET, text=SD15_TEXT, codec=SD15_CODEC)
    manifest = export_pack([str(source)], tmp_path / "pack")
    assert max(graph.parity for graph in manifest.graphs.values()) < 1e-4
    assert manifest.graphs["conditioner"].outputs[0].shape == ("batch", 77, 24960)
