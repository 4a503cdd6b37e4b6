"""`PromptTable` on engines in closed form: the text encoder adds 1 to the ids, the conditioner doubles that.

The tokenizer says the length of a prompt, twice.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from limbeck.diffusion.text_condition import PromptTable, TextCondition, TextConditioning
from limbeck.pack import UnetInfo
from support.functions import function_engine
from support.graphs import tensor

ROW_NBYTES = 2 * 1 * 4
INFO = UnetInfo(latent_shape=(4, 2, 2), tokens=2, prompt="a photo of {name}", null_prompt="blurry")

prompts = st.lists(st.text(alphabet="ab", max_size=5), min_size=1, max_size=12)


def tokenize(prompts):
    return np.array([[len(prompt)] * 2 for prompt in prompts], np.int64)


def closed(*, bucket=3, table_nbytes=2**20, cut=True):
    """A table, and what its two engines were fed."""
    token_ids, states = tensor("token_ids", "batch", 2, dtype="int64"), tensor("states", "batch", 2, 1)
    encoder, encoder_calls = function_engine(
        [token_ids], [states], lambda token_ids: {"states": (token_ids[..., None] + 1).astype(np.float32)}
    )
    conditioner, conditioner_calls = function_engine(
        [states], [tensor("keys_values", "batch", 2, 1)], lambda states: {"keys_values": 2 * states}
    )
    table = PromptTable(tokenize, encoder, conditioner if cut else None, bucket=bucket, table_nbytes=table_nbytes)
    return table, encoder_calls, conditioner_calls


@given(prompts, st.integers(1, 5), st.integers(0, 40))
def test_a_row_is_of_its_prompt_whatever_the_bucket_and_the_memory(asked, bucket, table_nbytes):
    table, _, _ = closed(bucket=bucket, table_nbytes=table_nbytes)
    for part in (asked, asked[::-1]):
        found = table.rows(part)
        assert {prompt: row["keys_values"].ravel().tolist() for prompt, row in found.items()} == {
            prompt: [2 * (len(prompt) + 1)] * 2 for prompt in part
        }


@given(prompts)
def test_both_engines_run_once_for_a_prompt(asked):
    table, encoder_calls, conditioner_calls = closed(bucket=1)
    table.rows(asked)
    table.rows(asked)
    assert (len(encoder_calls), len(conditioner_calls)) == (len(set(asked)),) * 2


def test_engines_are_asked_in_buckets():
    table, encoder_calls, _ = closed(bucket=3)
    table.rows(["a", "aa", "aaa", "aaaa"])
    assert [len(feeds["token_ids"]) for feeds in encoder_calls] == [3, 3]


def test_the_least_recently_used_prompt_is_forgotten_above_the_bytes():
    table, encoder_calls, _ = closed(bucket=1, table_nbytes=2 * ROW_NBYTES)
    for prompt in ("a", "aa", "a", "aaa", "a", "aa"):
        table.rows([prompt])
    assert [int(feeds["token_ids"][0, 0]) for feeds in encoder_calls] == [1, 2, 3, 2]


def test_rows_own_their_memory():
    rows = closed()[0].rows(["a", "aa"])
    assert all(array.base is None for row in rows.values() for array in row.values())


def test_a_trunk_that_is_not_cut_is_given_the_states():
    rows = closed(cut=False)[0].rows(["aaa"])
    np.testing.assert_array_equal(rows["aaa"]["states"].ravel(), [4, 4])


def test_class_names_become_prompts_by_the_template():
    condition = TextConditioning(INFO).of_classes(["tench, Tinca tinca", "dog"])
    assert condition.prompts == ("a photo of tench, Tinca tinca", "a photo of dog")


def test_without_a_template_the_name_is_the_prompt():
    """As in D4M."""
    info = UnetInfo(latent_shape=(4, 2, 2), tokens=2)
    assert TextConditioning(info).of_classes(["tench, Tinca tinca"]).prompts == ("tench, Tinca tinca",)


def test_a_wordnet_id_is_said_in_words():
    assert TextConditioning(INFO).of_classes(["n01440764"]).prompts == ("a photo of tench, Tinca tinca",)


@pytest.mark.parametrize("name", ["{name}", "{0}", "50 % {x"])
def test_a_name_with_braces_is_taken_as_it_is(name):
    assert TextConditioning(INFO).of_classes([name]).prompts == (f"a photo of {name}",)


def test_no_condition_is_the_null_prompt():
    assert TextConditioning(INFO).null(2).prompts == ("blurry", "blurry")


def test_rows_of_a_condition_are_taken_in_order():
    assert TextCondition(("a", "b", "c")).take([2, 0, 2]).prompts == ("c", "a", "c")


def test_joined_conditions_follow_each_other():
    assert TextCondition(("a",)).join(TextCondition(("b", "c"))).prompts == ("a", "b", "c")
