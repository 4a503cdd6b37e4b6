"""`DitDenoiser` on a conditioner and a trunk in closed form.

The conditioner says (time, class), as two numbers a sample; the trunk adds time + 1000 class to the latents and
appends, with learned sigma, a variance of minus the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from limbeck.arrays import Array
from limbeck.diffusion.denoiser import ClassCondition, ClassConditioning, DitDenoiser
from limbeck.errors import ConfigError
from limbeck.imagenet import WORDNET_IDS, in_words
from limbeck.pack import DenoiserInfo
from support.functions import function_engine
from support.graphs import tensor

SHAPE = (4, 2, 2)
ROW_NBYTES = 2 * 4
INFO = DenoiserInfo(latent_shape=SHAPE, classes=("tench, Tinca tinca", "dog"), null_class=2, learned_sigma=True)


@dataclass(frozen=True)
class Closed:
    """A denoiser in closed form, and what its engines were fed."""

    denoiser: DitDenoiser
    conditioner_calls: list[dict[str, Array]]
    trunk_calls: list[dict[str, Array]]

    @property
    def pairs(self):
        """Every (time, class) that the conditioner was asked for, padding included, one list a call."""
        return [
            list(zip(feeds["timestep"].tolist(), feeds["class_id"].tolist(), strict=True))
            for feeds in self.conditioner_calls
        ]


def closed(*, bucket=4, info=INFO, **settings):
    def condition(timestep, class_id):
        return {"modulation": np.stack([timestep, class_id], axis=1).astype(np.float32)}

    def predict(latents, modulation):
        shift = (modulation @ np.array([1, 1000], np.float32))[:, None, None, None]
        noise = latents + shift
        return {"prediction": np.concatenate([noise, -noise], axis=1) if info.learned_sigma else noise}

    channels = 8 if info.learned_sigma else 4
    conditioner, conditioner_calls = function_engine(
        [tensor("timestep", "batch", dtype="int64"), tensor("class_id", "batch", dtype="int64")],
        [tensor("modulation", "batch", 2)],
        condition,
    )
    trunk, trunk_calls = function_engine(
        [tensor("latents", "batch", *SHAPE), tensor("modulation", "batch", 2)],
        [tensor("prediction", "batch", channels, *SHAPE[1:])],
        predict,
    )
    denoiser = DitDenoiser(info, conditioner, trunk, bucket=bucket, **settings)
    return Closed(denoiser, conditioner_calls, trunk_calls)


def ask(model, pairs):
    """The noise for zero latents at (time, class) pairs: `time + 1000 * class`, the same in every pixel."""
    times, class_ids = np.array(pairs, np.int64).T
    return model.denoiser(np.zeros((len(pairs), *SHAPE), np.float32), times, ClassCondition(class_ids))[
        :, 0, 0, 0
    ].tolist()


pairs = st.lists(st.tuples(st.integers(0, 999), st.integers(0, 2)), min_size=1, max_size=20)


@given(pairs, st.integers(1, 9), st.integers(0, 2**16))
def test_a_sample_has_its_own_time_and_class_whatever_the_bucket(asked, bucket, seed):
    model = closed(bucket=bucket)
    latents = np.random.default_rng(seed).standard_normal((len(asked), *SHAPE)).astype(np.float32)
    times, class_ids = np.array(asked, np.int64).T
    noise = model.denoiser(latents, times, ClassCondition(class_ids))
    expected = latents + (times + 1000 * class_ids).astype(np.float32)[:, None, None, None]
    np.testing.assert_array_equal(noise, expected, strict=True)


@given(pairs, st.integers(0, 64))
def test_a_small_table_changes_no_result(asked, table_nbytes):
    model = closed(table_nbytes=table_nbytes)
    for part in (asked, asked[::-1]):
        assert ask(model, part) == [time + 1000 * class_id for time, class_id in part]


@given(pairs)
def test_the_conditioner_is_asked_once_for_each_time_and_class(asked):
    model = closed(bucket=1)
    ask(model, asked)
    ask(model, asked)
    assert sorted(pair for call in model.pairs for pair in call) == sorted(set(asked))


def test_the_conditioner_is_asked_in_buckets():
    model = closed(bucket=4)
    ask(model, [(time, 0) for time in range(6)])
    assert [len(call) for call in model.pairs] == [4, 4]


def test_the_table_forgets_the_least_recently_used_above_its_bytes():
    model = closed(bucket=1, table_nbytes=2 * ROW_NBYTES)
    for time in (1, 2, 1, 3, 1, 2):
        ask(model, [(time, 0)])
    assert model.pairs == [[(1, 0)], [(2, 0)], [(3, 0)], [(2, 0)]]


def test_the_table_holds_what_just_fits():
    model = closed(bucket=1, table_nbytes=3 * ROW_NBYTES)
    for time in (1, 2, 3, 1, 2, 3):
        ask(model, [(time, 0)])
    assert model.pairs == [[(1, 0)], [(2, 0)], [(3, 0)]]


def test_latents_are_not_changed():
    latents = np.ones((3, *SHAPE), np.float32)
    closed().denoiser(latents, np.arange(3), ClassCondition(np.arange(3)))
    np.testing.assert_array_equal(latents, 1)


def test_noise_and_variance_are_the_halves_of_the_channels():
    latents = np.ones((2, *SHAPE), np.float32)
    noise, variance = closed().denoiser.with_variance(latents, np.array([5, 6]), ClassCondition(np.array([0, 1])))
    np.testing.assert_array_equal(noise[:, 0, 0, 0], [6, 1007])
    np.testing.assert_array_equal(variance, -noise, strict=True)


def test_a_denoiser_without_learned_sigma_has_no_variance():
    model = closed(info=INFO.model_copy(update={"learned_sigma": False}))
    with pytest.raises(ConfigError, match="has no learned variance; use variance='posterior' or 'upper'"):
        model.denoiser.with_variance(np.zeros((1, *SHAPE), np.float32), np.array([0]), ClassCondition(np.array([0])))
    assert ask(model, [(7, 1)]) == [1007]


def test_a_condition_of_another_kind_is_refused():
    with pytest.raises(ConfigError, match="a class-conditional denoiser takes a ClassCondition, got list"):
        closed().denoiser(np.zeros((1, *SHAPE), np.float32), np.array([0]), [0])


@pytest.mark.parametrize("name", ["tench, Tinca tinca", "tench", "Tinca tinca", "TENCH", " tench "])
def test_a_class_is_known_by_each_of_its_synonyms(name):
    np.testing.assert_array_equal(ClassConditioning(INFO).of_classes(["dog", name]).class_ids, [1, 0])


def test_a_network_that_knows_imagenet_knows_wordnet_ids():
    """Folders of ImageNet are called by them; only so are its two cranes and its two maillots told apart."""
    names = tuple(in_words(wordnet_id) for wordnet_id in WORDNET_IDS)
    conditioning = ClassConditioning(INFO.model_copy(update={"classes": names}))
    asked = ["n01440764", "n02012849", "n03126707", "N15075141", "crane"]
    np.testing.assert_array_equal(conditioning.of_classes(asked).class_ids, [0, 134, 517, 999, 134])
    with pytest.raises(ConfigError, match="does not know the class"):
        conditioning.of_classes(["n99999999"])


def test_a_network_of_other_classes_knows_no_wordnet_ids():
    with pytest.raises(ConfigError, match=r"does not know the class\(es\) n01440764"):
        ClassConditioning(INFO).of_classes(["n01440764"])
    named = INFO.model_copy(update={"classes": ("n02096294", "n01440764")})
    np.testing.assert_array_equal(ClassConditioning(named).of_classes(["n01440764"]).class_ids, [1])


def test_unknown_classes_are_refused_with_the_known():
    message = r"does not know the class\(es\) cow, emu; it knows 2: tench, Tinca tinca, dog\n"
    with pytest.raises(ConfigError, match=message):
        ClassConditioning(INFO).of_classes(["emu", "dog", "cow", "emu"])


def test_a_name_that_two_classes_share_is_the_first():
    """ImageNet has two "crane"s; the whole name tells them apart."""
    info = INFO.model_copy(update={"classes": ("crane, bird", "crane, machine")})
    np.testing.assert_array_equal(ClassConditioning(info).of_classes(["crane", "crane, machine"]).class_ids, [0, 1])


def test_no_condition_is_the_null_class():
    np.testing.assert_array_equal(ClassConditioning(INFO).null(3).class_ids, [2, 2, 2])


def test_rows_of_a_condition_are_taken_in_order():
    np.testing.assert_array_equal(ClassCondition(np.array([5, 6, 7])).take([2, 0, 2]).class_ids, [7, 5, 7])


def test_no_rows_of_a_condition_are_a_condition():
    assert len(ClassCondition(np.array([5, 6, 7])).take([])) == 0


def test_joined_conditions_follow_each_other():
    one, two = ClassCondition(np.array([1])), ClassCondition(np.array([2, 3]))
    np.testing.assert_array_equal(one.join(two).class_ids, [1, 2, 3])


def test_what_was_prepared_is_not_asked_of_the_conditioner_again():
    model = closed(bucket=2)
    condition = ClassCondition(np.array([0, 1, 0]))
    model.denoiser.prepare(np.array([7, 3]), condition)
    asked = len(model.conditioner_calls)
    model.denoiser(np.zeros((3, *SHAPE), np.float32), np.array([3, 7, 7]), condition)
    assert {pair for call in model.pairs for pair in call} == {(7, 0), (7, 1), (3, 0), (3, 1)}
    assert len(model.conditioner_calls) == asked
