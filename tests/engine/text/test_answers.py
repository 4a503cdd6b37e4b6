import logging

import pytest

from limbeck.text.answers import AnswerStore

KEY, OTHER = "ab" * 32, "cd" * 32


@pytest.fixture
def store(tmp_path):
    return AnswerStore(tmp_path / "answers")


def file_of(store, key):
    return store.root / key[:2] / f"{key}.json"


def test_an_answer_is_found_again(store):
    store.put(KEY, "eine Hand ✋\n")
    assert AnswerStore(store.root).get(KEY) == "eine Hand ✋\n"


def test_nothing_is_found_where_nothing_was_put(store):
    assert store.get(KEY) is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda content: content.replace(b"a hand", b"a foot"),
        lambda content: b"",
        lambda content: b"\xff" * 10,
    ],
    ids=["cut", "changed", "empty", "no text"],
)
def test_a_damaged_answer_is_put_aside_and_may_be_put_again(store, damage, caplog):
    store.put(KEY, "a hand")
    path = file_of(store, KEY)
    path.write_bytes(damage(path.read_bytes()))
    with caplog.at_level(logging.WARNING):
        assert store.get(KEY) is None
    assert "answer_damaged" in caplog.text
    assert len(list((store.root / "quarantine").iterdir())) == 1
    store.put(KEY, "a hand")
    assert store.get(KEY) == "a hand"


def test_an_answer_under_another_question_is_damage(store):
    store.put(KEY, "a hand")
    file_of(store, OTHER).parent.mkdir()
    file_of(store, KEY).rename(file_of(store, OTHER))
    assert store.get(OTHER) is None


def test_a_place_that_cannot_be_written_costs_only_the_memory(tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    store = AnswerStore(tmp_path / "file")
    with caplog.at_level(logging.WARNING):
        store.put(KEY, "a hand")
        assert store.get(KEY) is None
    assert "answers_unwritable" in caplog.text
