"""The report is a whole page that asks nothing of a network and runs nothing that a name says."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from limbeck.evaluate.recipe import Recipe
from limbeck.evaluate.report import report
from limbeck.evaluate.results import Evaluation, Run, Worth
from limbeck.evaluate.students import Student
from limbeck.labels.pixels import Pixels

HOSTILE = ('<script>alert("x")</script>', "a & b", "\"><img src='http://example.org/x.png'>")


class Page(HTMLParser):
    """Every element with its attributes, and whether each that opens is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "line", "polyline", "circle"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("line", "polyline", "circle"):
            assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))


@pytest.fixture
def pixels(rng: np.random.Generator) -> Pixels:
    return Pixels(rng.integers(0, 256, (6, 3, 8, 8), dtype=np.uint8), np.repeat(np.arange(3), 2), HOSTILE)


@pytest.fixture
def page(pixels: Pixels) -> str:
    recipe = Recipe(epochs=10, batch_size=4, optimizer="sgd", learning_rate=0.1, weight_decay=0.0)
    run = Run(set_index=0, seed=0, curve=((5, 0.25), (10, 0.5)), seconds=3.0)
    worth = Worth(
        trained_on="distilled",
        images=6,
        recipe=recipe,
        overrides={"epochs": {"published": 2000, "used": 10}},
        runs=(run,),
    )
    evaluation = Evaluation(
        protocol="hard",
        labels="hard",
        student=Student(name="convnet-3"),
        parameters=1234,
        image_size=8,
        class_names=HOSTILE,
        teacher=None,
        worths=(worth,),
        scores={"improvement_over_random": 0.125},
    )
    return report(evaluation, [pixels], title=HOSTILE[0])


def test_every_element_is_closed(page: str) -> None:
    assert Page(page).open == []


def test_nothing_is_fetched_and_nothing_is_run(page: str) -> None:
    elements = Page(page).elements
    assert not {tag for tag, _ in elements} & {"script", "link", "iframe", "object", "form"}
    references = [value for _, attributes in elements for name, value in attributes.items() if name in ("src", "href")]
    assert references
    assert all(value is not None and value.startswith("data:image/png;base64,") for value in references)
    assert not [name for _, attributes in elements for name in attributes if name.startswith("on")]


def test_the_pictures_are_those_of_the_set(page: str, pixels: Pixels) -> None:
    encoded = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    shown = [np.asarray(Image.open(io.BytesIO(base64.b64decode(text)))).transpose(2, 0, 1) for text in encoded]
    np.testing.assert_array_equal(np.stack(shown), pixels.images)


def test_class_names_are_shown_as_they_are_called(page: str) -> None:
    texts: list[str] = []
    parser = Page("")
    parser.handle_data = texts.append  # type: ignore[method-assign]
    parser.feed(page)
    assert set(HOSTILE) <= set(texts)


@pytest.mark.parametrize("text", ["50.0 ± 0.0 %", "2000", "0.125", "1,234 parameters"])
def test_the_figures_are_there(text: str, page: str) -> None:
    assert text in page
