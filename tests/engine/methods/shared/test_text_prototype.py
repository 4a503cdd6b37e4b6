from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from limbeck.errors import ConfigError
from limbeck.methods.shared.text_prototype import TextPrototypes, language_model
from limbeck.text.endpoint import Question

CLUSTERS = [["a green tench", "a tench on grass"], ["a tench held by a man"]]
CAPTIONS = [caption for cluster in CLUSTERS for caption in cluster]


class Says:
    """A language model whose answers are known, and that remembers what it was asked, when it was asked it."""

    def __init__(self, *answers: str) -> None:
        self.left = list(answers)
        self.asked: list[str] = []

    def answers(self, questions: Iterable[Question]) -> Iterator[str]:
        for question in questions:
            self.asked.append(question.text)
            yield self.left.pop(0)


def prototypes(model: Says | None, *, max_tokens: int = 8) -> TextPrototypes:
    return TextPrototypes(
        model,
        num_tokens=lambda text: len(text.split()),
        max_tokens=max_tokens,
        num_words=30,
        max_document_frequency=0.7,
    )


def test_without_a_model_a_caption_of_each_cluster_is_its_prompt() -> None:
    made = list(prototypes(None).of("tench", CLUSTERS, CAPTIONS))
    assert [prompt.text in cluster for prompt, cluster in zip(made, CLUSTERS, strict=True)] == [True, True]
    assert {prompt.by for prompt in made} == {"caption"}


def test_a_model_is_asked_about_each_cluster_with_its_captions() -> None:
    model = Says("A green tench on grass.", "A tench and a man.")
    made = list(prototypes(model).of("tench", CLUSTERS, CAPTIONS))
    assert [prompt.text for prompt in made] == ["A green tench on grass.", "A tench and a man."]
    for question, cluster in zip(model.asked, CLUSTERS, strict=True):
        assert [line[2:] for line in question.splitlines() if line.startswith("- ")] == cluster


def test_prompts_come_one_by_one_so_that_a_run_can_be_stopped_between_them() -> None:
    model = Says("A tench.", "Another tench.")
    next(prototypes(model).of("tench", CLUSTERS, CAPTIONS))
    assert len(model.asked) == 1


@pytest.mark.parametrize(
    ("answer", "captions", "by", "text"),
    [
        ("A fish.", ["a green tench"], "caption", "a green tench"),
        ("A fish.", ["a green fish"], "name and caption", "tench, a green fish"),
        ("A fish.", ["a green fish of many, many words indeed"], "name", "tench"),
        ("A tench of far more words than the encoder takes.", ["a green tench"], "caption", "a green tench"),
    ],
)
def test_what_does_not_name_the_class_or_is_too_long_gives_way(
    answer: str, captions: list[str], by: str, text: str
) -> None:
    (made,) = prototypes(Says(answer)).of("tench, Tinca tinca", [captions], captions)
    assert (made.by, made.text.removesuffix(", Tinca tinca")) == (by, text)
    assert made.reason.startswith("model: ")


def test_a_local_model_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(ConfigError, match=r"none\.gguf cannot be read"),
        language_model("local", None, str(tmp_path / "none.gguf")),
    ):
        pass
