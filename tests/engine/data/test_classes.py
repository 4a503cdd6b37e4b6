"""Sources whose labels mean the same, and those whose do not."""

from __future__ import annotations

import pytest

from limbeck.data.classes import refuse_other_classes
from limbeck.errors import DataError


def test_sources_of_the_same_classes_can_be_compared() -> None:
    refuse_other_classes({"one": ("cat", "dog"), "two": ["cat", "dog"], "three": ("cat", "dog")})


def test_the_first_label_that_differs_is_named_with_its_sources() -> None:
    names = [str(label) for label in range(10)]
    with pytest.raises(DataError, match=r"label 9 is '9' in out, and 'x' in --test val; names and order"):
        refuse_other_classes({"out": names, "--train photos": names, "--test val": [*names[:9], "x"]})


def test_an_order_that_differs_is_another_labeling() -> None:
    with pytest.raises(DataError, match="label 0 is 'cat' in a, and 'dog' in b"):
        refuse_other_classes({"a": ("cat", "dog"), "b": ("dog", "cat")})


def test_another_number_of_classes_is_told() -> None:
    with pytest.raises(DataError, match=r"a has 2 classes \(cat, dog\), b has 6 classes \(0, 1, 2, 3, 4, …\)"):
        refuse_other_classes({"a": ("cat", "dog"), "b": [str(label) for label in range(6)]})
