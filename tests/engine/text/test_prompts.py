import pytest

from limbeck.text.prompts import chosen_caption, cleaned, first_that_fits, frequent_words, merging_question, names_class


def words(text):
    return len(text.split())


def fitting(*candidates, name="tench", limit=6):
    return first_that_fits(candidates, class_name=name, num_tokens=words, max_tokens=limit)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("a Tench on grass", "tench"),
        ("a tinca tinca, held", "tench, Tinca tinca"),
        ("two sign_digits", "sign digits"),
        ("the digit 3.", "3"),
        ("a C++ book", "C++"),
        ("ein Dackel mit Straße", "STRASSE"),
    ],
)
def test_a_text_names_a_class_by_any_of_its_names_as_whole_words(text, name):
    assert names_class(text, name)


@pytest.mark.parametrize(
    ("text", "name"), [("a stench", "tench"), ("the digit 13", "3"), ("a fish", "tench"), ("", ",")]
)
def test_a_text_that_only_contains_the_letters_does_not_name_the_class(text, name):
    assert not names_class(text, name)


def test_what_fits_is_taken_without_a_reason():
    made = fitting(("model", "a tench on grass"), ("name", "tench"))
    assert (made.text, made.by, made.reason) == ("a tench on grass", "model", "")


def test_what_does_not_name_the_class_is_replaced_and_the_reason_kept():
    made = fitting(("model", "a fish"), ("caption", "a green tench"), ("name", "tench"))
    assert (made.text, made.by) == ("a green tench", "caption")
    assert made.reason == "model: 'a fish' does not name 'tench'"


def test_what_is_too_long_is_replaced_and_the_reason_kept():
    made = fitting(("model", "a tench " + "very " * 9), ("name", "tench"))
    assert made.text == "tench"
    assert "has 11 tokens, the text encoder takes 6" in made.reason


def test_the_last_is_taken_whatever_it_is():
    made = fitting(("caption", "a fish"), ("name", "a tench " + "very " * 9))
    assert (made.by, made.reason.count(";")) == ("name", 1)


def test_frequent_words_leave_out_what_nearly_every_caption_says():
    captions = ["a tench on grass", "a tench in water", "a tench on sand", "a tench on grass"]
    assert frequent_words(captions, num_words=30, max_document_frequency=0.7) == {"grass", "in", "water", "sand"}


def test_no_more_words_are_frequent_than_asked_and_of_equals_the_first_by_alphabet():
    captions = [f"w{i:02}" for i in range(40)]
    assert frequent_words(captions, num_words=5, max_document_frequency=0.7) == {f"w{i:02}" for i in range(5)}


@pytest.mark.parametrize(("part", "expected"), [(0.25, {"in"}), (0.5, {"in", "grass"}), (1.0, {"in", "grass", "a"})])
def test_a_word_in_as_large_a_part_of_the_captions_as_asked_still_counts(part, expected):
    captions = ["a grass", "a grass", "a", "a in"]
    assert frequent_words(captions, num_words=30, max_document_frequency=part) == expected


def test_the_caption_with_most_frequent_words_is_chosen_and_of_equals_the_first():
    frequent = frozenset({"grass", "green"})
    assert chosen_caption(["a tench", "Green tench", "tench on GRASS", "green grass, tench"], frequent) == (
        "green grass, tench"
    )
    assert chosen_caption(["green one", "green two"], frequent) == "green one"


@pytest.mark.parametrize(
    "answer",
    [
        '"A tench on grass."',
        "**A tench\non grass.**\n\nI hope this helps!",
        " “A tench on grass.” ",
        'The caption is: "A tench on grass."',
        "Sure! Here is one caption that says what they have in common:\n\nA tench on grass.",
        "- A tench on grass.\n- A tench held by a man.",
        "Caption: A tench on grass.",
    ],
)
def test_an_answer_is_freed_of_what_surrounds_it(answer):
    assert cleaned(answer) == "A tench on grass."


@pytest.mark.parametrize("answer", ["A sign: a hand-made tench", "Tench at 5:30", "A man's tench"])
def test_what_belongs_to_an_answer_stays(answer):
    assert cleaned(answer) == answer


def test_a_merging_question_has_the_class_all_captions_and_a_limit():
    question = merging_question("tench", ["a green tench", "a tench held"], max_tokens=50).text
    assert all(part in question for part in ("'tench'", "- a green tench", "- a tench held", "at most 30 words"))


def test_a_merging_question_leaves_the_choice_among_synonyms():
    assert "It must contain '3' or 'three'." in merging_question("3, three", ["a"], max_tokens=50).text
