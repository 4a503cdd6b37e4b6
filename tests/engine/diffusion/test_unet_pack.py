"""A small Stable Diffusion, exported for real, against diffusers, and distilled from."""

import shutil

import numpy as np
import pytest

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")
transformers = pytest.importorskip("transformers")
pytest.importorskip("onnx")
pytest.importorskip("tokenizers")

from limbeck.backends.onnxruntime import OnnxRuntime  # noqa: E402
from limbeck.diffusion.guidance import Guided  # noqa: E402
from limbeck.errors import PackError  # noqa: E402
from limbeck.methods.base import DistilledImages  # noqa: E402
from limbeck.methods.d4m import D4M  # noqa: E402
from limbeck.models import open_models  # noqa: E402
from limbeck.pack import Pack  # noqa: E402
from support.sources import ArraySource, blobs  # noqa: E402

pytestmark = pytest.mark.torch

PROMPTS = ["the cat", "dog", "the cat", "tench, Tinca tinca", ""]
TIMES = np.array([0, 999, 3, 500, 20])


@pytest.fixture(scope="module")
def models(sd_pack):
    with open_models(Pack.open(sd_pack), OnnxRuntime(), bucket=4) as models:
        yield models


@pytest.fixture(scope="module")
def theirs(sd_source):
    """The prediction of diffusers' own UNet for prompts, and for no prompt."""
    unet = diffusers.UNet2DConditionModel.from_pretrained(sd_source, subfolder="unet", low_cpu_mem_usage=False).eval()
    tower = transformers.CLIPTextModel.from_pretrained(sd_source, subfolder="text_encoder").eval()
    tokenizer = transformers.CLIPTokenizer.from_pretrained(sd_source, subfolder="tokenizer")

    def predict(latents, times, prompts):
        ids = tokenizer(prompts, padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids
        with torch.no_grad():
            return unet(torch.tensor(latents), torch.tensor(times), tower(ids).last_hidden_state).sample.numpy()

    return predict


@pytest.fixture
def latents(rng):
    return rng.standard_normal((5, 4, 16, 16)).astype(np.float32)


def test_the_noise_is_that_of_diffusers_for_the_same_prompts(models, theirs, latents):
    found = models.denoiser(latents, TIMES, models.conditioning.of_classes(PROMPTS))
    np.testing.assert_allclose(found, theirs(latents, TIMES, PROMPTS), rtol=1e-4, atol=1e-4)


def test_guidance_leads_away_from_the_empty_prompt(models, theirs, latents):
    guided = Guided(models.denoiser, models.conditioning, scale=3.0)
    found = guided(latents, TIMES, models.conditioning.of_classes(PROMPTS))
    null, conditional = (theirs(latents, TIMES, prompts) for prompts in ([""] * 5, PROMPTS))
    np.testing.assert_allclose(found, null + 3 * (conditional - null), rtol=1e-4, atol=1e-4)


def test_d4m_distills_a_class_by_its_name(models, rng):
    source = ArraySource(
        {"cat": blobs(rng, center=0.3, count=4, size=32), "dog": blobs(rng, center=0.7, count=4, size=32)}
    )
    method = D4M(ipc=2, num_steps=3)
    method.check(source, models)
    made = [
        event for event in method.distill(method.units(source), source, models) if isinstance(event, DistilledImages)
    ]
    assert [(event.images.shape, bool(np.isfinite(event.images).all())) for event in made] == [
        ((2, 3, 32, 32), True)
    ] * 2


def test_the_class_decides_what_is_generated(models, latents):
    one, other = (
        models.denoiser(latents, TIMES, models.conditioning.of_classes([name] * 5)) for name in ("cat", "dog")
    )
    assert np.abs(one - other).max() > 1e-3


def test_a_changed_tokenizer_is_refused(sd_pack, tmp_path):
    folder = shutil.copytree(sd_pack, tmp_path / "pack")
    (folder / "tokenizer/tokenizer.json").write_text("{}")
    with (
        pytest.raises(PackError, match=r"tokenizer\.json is damaged or was changed"),
        open_models(Pack.open(folder), OnnxRuntime()),
    ):
        pass
