"""EDITS on the shipped pack: real networks, real photos, real captions."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from limbeck.backends.onnxruntime import OnnxRuntime
from limbeck.data.source import open_source
from limbeck.data.stored import StoredSource
from limbeck.methods.base import DistilledImages
from limbeck.methods.edits import EDITS
from limbeck.models import Models, open_models
from limbeck.pack import Pack, shipped_packs

DIGITS = Path(__file__).parents[3] / "examples/data/sign_digits/train"
CAPTIONS = DIGITS / "metadata.jsonl"

pytestmark = pytest.mark.skipif(
    "mini-text" not in shipped_packs() or not CAPTIONS.is_file(),
    reason="the pack mini-text or its captions are missing",
)


@pytest.fixture(scope="module")
def models() -> Iterator[Models]:
    pytest.importorskip("tokenizers", reason="a text encoder needs the extra limbeck[text]")
    with open_models(Pack.open("mini-text"), OnnxRuntime(), needs=EDITS.needs, bucket=4) as models:
        yield models


@pytest.fixture
def source(tmp_path: Path) -> StoredSource:
    for digit in "37":
        (tmp_path / digit).mkdir()
        for photo in sorted((DIGITS / digit).iterdir())[:6]:
            shutil.copy(photo, tmp_path / digit)
    return open_source(tmp_path)


def distilled(edits: EDITS, source: StoredSource, models: Models) -> list[DistilledImages]:
    edits.check(source, models)
    events = edits.distill(edits.units(source), source, models)
    return [event for event in events if isinstance(event, DistilledImages)]


def test_prompts_are_captions_that_name_the_digit_and_images_are_made(source: StoredSource, models: Models) -> None:
    texts = {row["file_name"]: row["text"] for row in map(json.loads, CAPTIONS.read_text().splitlines())}
    made = distilled(EDITS(ipc=2, captions=str(CAPTIONS), num_steps=3), source, models)
    for event, digit in zip(made, "37", strict=True):
        assert event.images.shape == (2, 3, 64, 64)
        assert np.isfinite(event.images).all()
        for row in event.rows:
            assert row["prompt"] in {texts[name] for name in row["from"]}
            assert digit in str(row["prompt"])


def test_a_caption_about_the_same_is_nearer_than_one_about_another_thing(models: Models) -> None:
    """The text encoder and its pooling mean something."""
    texts = ["a dark photo of the digit 3", "a dim picture of the number 3", "two elephants at a river"]
    same, alike, other = models.text.features(texts, pooling="mean")
    cosine = [float(same @ text / np.linalg.norm(same) / np.linalg.norm(text)) for text in (alike, other)]
    assert cosine[0] > 0.6 > 0.3 > cosine[1]
