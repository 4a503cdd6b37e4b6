"""The page of methods says what the methods say."""

from __future__ import annotations

from dataclasses import fields

import pytest
from tools.method_tables import PAGE, meanings, written

from limbeck.methods import METHODS


def test_the_page_of_methods_is_what_their_docstrings_say_today() -> None:
    page = PAGE.read_text()
    assert written(page) == page, "run: python tools/method_tables.py"


@pytest.mark.parametrize("name", METHODS)
def test_every_setting_of_a_method_has_a_meaning(name: str) -> None:
    settings = {field.name for field in fields(METHODS[name])}
    assert sorted(settings - meanings(METHODS[name]).keys()) == []
