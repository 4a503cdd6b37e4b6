"""`TextFeatures` with a tokenizer of words and an encoder in closed form: a state is the id of its token, and twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from limbeck.diffusion.text_features import Pooling, TextFeatures
from limbeck.errors import ConfigError
from limbeck.text.tokenizer import Tokenizer
from support.functions import function_engine
from support.graphs import tensor

TOKENS = 6
IDS = {"[PAD]": 0, "a": 10, "red": 20, "hand": 30}


def tokenizer_in(folder: Path, *, start: str, end: str) -> Tokenizer:
    """One that begins and ends a text with these, whose ids are 1 and 2."""
    tokenizers = pytest.importorskip("tokenizers", reason="a text encoder needs the extra limbeck[text]")
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({start: 1, end: 2, **IDS}, unk_token="[PAD]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.post_processor = tokenizers.processors.BertProcessing((end, 2), (start, 1))
    made.enable_padding(length=TOKENS)
    made.enable_truncation(TOKENS)
    made.save(str(folder / "tokenizer.json"))
    return Tokenizer(folder / "tokenizer.json", tokens=TOKENS)


@pytest.fixture
def encoder(tmp_path: Path) -> tuple[TextFeatures, list[Any]]:
    """A BERT, with what its engine was fed."""
    return encoder_of(tokenizer_in(tmp_path, start="[CLS]", end="[SEP]"))


@pytest.fixture
def clip(tmp_path: Path) -> TextFeatures:
    return encoder_of(tokenizer_in(tmp_path, start="<|startoftext|>", end="<|endoftext|>"))[0]


def encoder_of(tokenizer: Tokenizer) -> tuple[TextFeatures, list[Any]]:
    token_ids, states = tensor("token_ids", "batch", TOKENS, dtype="int64"), tensor("states", "batch", TOKENS, 2)
    engine, calls = function_engine(
        [token_ids],
        [states],
        lambda token_ids: {"states": np.stack([token_ids, 2 * token_ids], axis=2).astype(np.float32)},
    )
    return TextFeatures(tokenizer, engine, bucket=2), calls


def test_the_mean_is_over_tokens_that_are_no_padding(encoder: Any) -> None:
    features = encoder[0].features(["a red hand", "a"], pooling="mean")
    np.testing.assert_allclose(features, [[63 / 5, 126 / 5], [13 / 3, 26 / 3]], rtol=1e-6)


def test_the_last_token_is_the_last_that_is_no_padding(encoder: Any) -> None:
    np.testing.assert_array_equal(encoder[0].features(["a red hand", ""], pooling="last"), [[2, 4], [2, 4]])


def test_a_bert_is_pooled_as_it_was_trained_by_the_mean(encoder: Any) -> None:
    texts = ["a red hand", "a"]
    np.testing.assert_array_equal(
        encoder[0].features(texts, pooling="trained"), encoder[0].features(texts, pooling="mean")
    )


def test_a_clip_is_pooled_as_it_was_trained_by_its_last_token(clip: TextFeatures) -> None:
    np.testing.assert_array_equal(clip.features(["a red hand", ""], pooling="trained"), [[2, 4], [2, 4]])


def test_with_a_projection_a_clip_is_pooled_as_it_was_trained_by_its_last_token_projected(clip: TextFeatures) -> None:
    matrix = np.array([[1, 0, 3], [0, 1, 1]], np.float32)
    projecting = TextFeatures(clip._tokenizer, clip._engine, bucket=2, projection=matrix)
    poolings: tuple[Pooling, ...] = ("mean", "last", "projected", "trained")
    for pooling in poolings[2:]:
        np.testing.assert_array_equal(projecting.features(["a red hand"], pooling=pooling), [[2, 4, 10]])
    assert [projecting.width(pooling) for pooling in poolings] == [2, 2, 3, 3]


def test_without_a_projection_it_is_refused_with_what_would_work(clip: TextFeatures) -> None:
    for asked in (clip.width, lambda pooling: clip.features(["a"], pooling=pooling)):
        with pytest.raises(ConfigError, match=r"pooling=projected needs a projection(.|\n)*clip:NAME"):
            asked("projected")
    assert clip.width("trained") == 2


def test_what_is_too_long_is_cut_before_it_is_pooled(encoder: Any) -> None:
    """To [CLS] a red hand a [SEP]."""
    features = encoder[0].features(["a red hand a red hand"], pooling="mean")
    np.testing.assert_allclose(features[:, 0], [73 / 6], rtol=1e-6)


def test_lengths_are_of_the_whole_text_special_tokens_included(encoder: Any) -> None:
    assert [encoder[0].num_tokens(text) for text in ("", "a red hand", "a red hand a red hand")] == [2, 5, 8]
    assert (encoder[0].max_tokens, encoder[0].width("mean")) == (6, 2)


def test_texts_are_asked_in_buckets_and_equal_ones_once(encoder: Any) -> None:
    texts, calls = encoder
    features = texts.features(["a", "red", "a", "hand", "a"], pooling="mean")
    assert [feeds["token_ids"].shape for feeds in calls] == [(2, TOKENS), (2, TOKENS)]
    np.testing.assert_allclose(features[:, 0], [13 / 3, 23 / 3, 13 / 3, 33 / 3, 13 / 3], rtol=1e-6)
