"""Captions of the sign digits: every word of them is true of the photo."""

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tools.mini.images import read_split  # noqa: E402
from tools.mini.split import photos  # noqa: E402
from tools.mini_text.attributes import Bounds, measure  # noqa: E402
from tools.mini_text.captions import CAPTIONS_FILE, DIGITS, WORDS, caption  # noqa: E402

pytestmark = pytest.mark.torch

TRAIN = Path(__file__).parents[2] / "examples/data/sign_digits/train"


@pytest.fixture(scope="module")
def measured():
    """What is measured of every training photo, by file name."""
    found = measure(read_split(TRAIN).images)
    names = [file.relative_to(TRAIN).as_posix() for file in photos(TRAIN)]
    return {name: {key: float(values[row]) for key, values in found.items()} for row, name in enumerate(names)}


@pytest.fixture(scope="module")
def captions():
    lines = (TRAIN / CAPTIONS_FILE).read_text(encoding="utf-8").splitlines()
    return {row["file_name"]: row["text"] for row in map(json.loads, lines)}


def test_every_training_photo_has_a_caption(measured, captions):
    assert captions.keys() == measured.keys()


def test_every_caption_names_the_digit_of_its_folder(captions):
    for name, text in captions.items():
        assert [word for word in text.split() if word.isdigit()] == [name.split("/")[0]]


@pytest.mark.parametrize("attribute", WORDS)
def test_what_a_caption_says_was_measured(measured, captions, attribute):
    low, high = getattr(Bounds(), attribute)
    for name, text in captions.items():
        value = measured[name][attribute]
        if any(word in text for word in WORDS[attribute][0]):
            assert value < low, (name, text)
        if any(word in text for word in WORDS[attribute][1]):
            assert value >= high, (name, text)


def test_light_and_the_hand_are_measured_where_they_are():
    """A gray wall with a red square in the right half."""
    pixels = torch.full((1, 3, 64, 64), 0.6)
    pixels[0, :, 24:40, 40:56] = torch.tensor([0.8, 0.5, 0.3])[:, None, None]
    found = {name: float(value) for name, value in measure(pixels * 2 - 1).items()}
    assert found["size"] == pytest.approx(16 * 16 / 64**2)
    assert found["side"] == pytest.approx(2 * 47.5 / 63 - 1, abs=1e-6)
    assert found["light"] == pytest.approx(0.6 + (1.6 / 3 - 0.6) / 16, abs=1e-6)


def test_a_caption_of_a_plain_photo_claims_nothing():
    plain = dict.fromkeys(WORDS, 0)
    words = {word for sides in WORDS.values() for side in sides for word in side}
    for seed in range(50):
        text = caption(3, plain, np.random.default_rng(seed))
        assert "3" in text or DIGITS[3] in text
        assert not any(word in text for word in words)
