"""The shipped pack `mini-text`: its text path on real weights."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("tokenizers")

from limbeck.backends.onnxruntime import OnnxRuntime
from limbeck.engine import compile
from limbeck.models import open_models
from limbeck.pack import Pack
from limbeck.text.tokenizer import Tokenizer

TRAIN = Path(__file__).parents[3] / "examples/data/sign_digits/train"
PROMPT = "a photo of a hand showing the digit {}"


@pytest.fixture(scope="module")
def pack():
    return Pack.open("mini-text")


@pytest.fixture(scope="module")
def tokenizer(pack):
    info = pack.manifest.denoiser
    return Tokenizer(pack.folder / info.tokenizer, tokens=info.tokens)


@pytest.fixture(scope="module")
def states_of(pack, tokenizer):
    """Token states of prompts, one call for all of them."""
    with compile(pack.graph("text_encoder"), OnnxRuntime()) as engine:
        yield lambda prompts: engine.run({"token_ids": tokenizer(prompts)})["states"]


@pytest.fixture(scope="module")
def models(pack):
    with open_models(pack, OnnxRuntime(), bucket=10) as opened:
        yield opened


def test_every_file_is_what_the_manifest_says(pack):
    assert pack.verify() == len(pack.manifest.files)


def test_it_stays_small_enough_to_ship(pack):
    assert sum(file.nbytes for file in pack.manifest.files.values()) < 45 * 10**6


def test_every_part_names_its_license(pack):
    assert set(pack.manifest.licenses) == {"denoiser", "codec", "backbone", "text_encoder"}


@pytest.mark.parametrize("name", [str(digit) for digit in range(10)])
def test_the_prompt_of_a_class_keeps_its_name_as_a_token_of_its_own(models, tokenizer, name):
    (prompt,) = models.conditioning.of_classes([name]).prompts
    assert int(tokenizer.mask([prompt]).sum()) == tokenizer.length(prompt) == len(PROMPT.split()) + 2


def test_the_states_of_padding_are_zero(tokenizer, states_of):
    prompts = ["", "3", PROMPT.format("three")]
    mask, states = tokenizer.mask(prompts), states_of(prompts)
    assert not states[~mask].any()
    assert states[mask].any(axis=1).all()


def test_a_prompt_has_the_same_states_beside_any_other(states_of):
    alone, shared = states_of(["the digit 3"]), states_of(["a bright photo of a large hand", "the digit 3"])
    np.testing.assert_allclose(shared[1], alone[0], rtol=1e-4, atol=1e-5)


def test_texts_of_like_meaning_lie_nearer_than_others(tokenizer, states_of):
    """What the text encoder was trained for, which rounding to int8 has to leave."""
    texts = ["a photo of a cat", "a picture of a kitten", "the stock market fell sharply"]
    states, mask = states_of(texts), tokenizer.mask(texts)
    pooled = states.sum(axis=1) / mask.sum(axis=1, keepdims=True)
    pooled /= np.linalg.norm(pooled, axis=1, keepdims=True)
    assert pooled[0] @ pooled[1] > 0.7 > 0.3 > pooled[0] @ pooled[2]


def test_another_word_is_another_prediction(models, rng):
    latents = rng.standard_normal((3, *models.latent_shape), dtype=np.float32)
    latents[1:] = latents[0]
    prompts = [PROMPT.format("3"), PROMPT.format("8"), PROMPT.format("3") + " on the left"]
    noise = models.denoiser(latents, np.full(3, 700), models.conditioning.of_prompts(prompts))
    apart = np.linalg.norm((noise[1:] - noise[0]).reshape(2, -1), axis=1) / np.linalg.norm(noise[0])
    # what two runs of one prompt may differ by is a thousandth of that
    assert (apart > 1e-3).all()


def test_the_right_digit_explains_the_noise_in_a_photo_better_than_a_wrong_one(models, rng):
    files = [file for digit in range(10) for file in sorted((TRAIN / str(digit)).glob("*.jpg"))[:4]]
    pixels = np.stack([np.asarray(Image.open(file), np.float32) / 255 for file in files]).transpose(0, 3, 1, 2)
    latents = models.codec.encode(np.ascontiguousarray(pixels))
    times, noise = np.full(len(files), 600), rng.standard_normal(latents.shape, dtype=np.float32)
    level = models.schedule.alpha_bar(times)[:, None, None, None]
    noisy = (np.sqrt(level) * latents + np.sqrt(1 - level) * noise).astype(np.float32)

    def error(shift):
        prompts = [PROMPT.format((int(file.parent.name) + shift) % 10) for file in files]
        predicted = models.denoiser(noisy, times, models.conditioning.of_prompts(prompts))
        return np.square(predicted - noise).mean()

    right = error(0)
    assert all(right < error(shift) for shift in (1, 4, 7))
