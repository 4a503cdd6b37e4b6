"""Folder names sort in label order, whatever the classes are called."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limbeck.data.naming import class_folders

names = st.lists(st.text(max_size=30) | st.sampled_from(["cat", "Cat", "test", "dev 2", "a/b", "..", "", "con", "é"]))


@given(names)
def test_sorted_folders_are_in_label_order(class_names):
    assert sorted(class_folders(class_names)) == list(class_folders(class_names))


@given(names)
def test_folders_differ_even_where_case_does_not_count(class_names):
    assert len({folder.casefold() for folder in class_folders(class_names)}) == len(class_names)


@given(names)
def test_folders_are_single_visible_path_components(class_names):
    for folder in class_folders(class_names):
        assert re.fullmatch(r"\w([^/\\:*?\"<>|\0]*\w)?", folder)


def test_sorted_plain_names_are_kept():
    assert class_folders(["ant", "bee colony", "cat_2"]) == ("ant", "bee colony", "cat_2")


def test_names_in_another_order_get_their_label_in_front():
    assert class_folders(["tench", "gold fish", "Eel"]) == ("0-tench", "1-gold-fish", "2-eel")


def test_labels_are_padded_so_that_ten_comes_after_nine():
    folders = class_folders([str(i) for i in range(11)])
    assert folders[9:] == ("09-9", "10-10")


def test_equal_names_get_different_folders():
    assert class_folders(["crane", "crane"]) == ("0-crane", "1-crane")


@pytest.mark.parametrize("word", ["test", "my-train", "Dev", "eval_2", "val2"])
def test_a_word_that_datasets_takes_for_a_split_is_left_out(word):
    assert class_folders([word]) == ("0",)
