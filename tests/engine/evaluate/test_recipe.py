"""Rates, tests on the way, and what is said of what was overridden."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from limbeck.errors import ConfigError
from limbeck.evaluate.protocols import HardLabels, OnlineSoftLabels, StoredSoftLabels
from limbeck.evaluate.recipe import Recipe, differences, overridden

RDED = OnlineSoftLabels().recipe(ipc=10, num_classes=10, student="resnet-18", image_size=224)
HARD = HardLabels().recipe(ipc=10, num_classes=10, student="convnet-3", image_size=224)
FKD = StoredSoftLabels().recipe(ipc=10, num_classes=10, student="resnet-18", image_size=224)


def test_the_rate_of_rded_ends_at_half_of_what_it_began_with() -> None:
    assert RDED.rate(0) == 1
    assert RDED.rate(RDED.epochs) == pytest.approx(0.5)


def test_the_rate_of_fkd_is_half_a_cosine_that_ends_at_nothing() -> None:
    assert FKD.rate(150) == pytest.approx(0.5)
    assert FKD.rate(FKD.epochs) == pytest.approx(0, abs=1e-12)
    assert FKD.rate(100) == pytest.approx(0.5 * (1 + math.cos(math.pi / 3)))


@pytest.mark.parametrize(("epoch", "rate"), [(0, 1), (1332, 1), (1333, 0.2), (1665, 0.2), (1666, 0.04), (1999, 0.04)])
def test_the_rate_of_hard_labels_falls_at_two_thirds_and_five_sixths(epoch: int, rate: float) -> None:
    assert HARD.rate(epoch) == pytest.approx(rate)


def test_hard_labels_are_tested_a_hundred_times_and_after_the_last_epoch() -> None:
    assert HARD.checks() == tuple(range(20, 2001, 20))


def test_rded_is_tested_every_ten_epochs_after_four_fifths() -> None:
    assert RDED.checks() == (250, 260, 270, 280, 290, 300)


def test_fkd_is_tested_every_ten_epochs() -> None:
    assert FKD.checks() == tuple(range(10, 301, 10))


@pytest.mark.parametrize("recipe", [HARD, RDED, FKD])
@pytest.mark.parametrize("scale", [0.001, 0.017, 0.1, 1.0, 1.5])
def test_a_scaled_recipe_keeps_its_rates_and_is_tested_at_its_end(recipe: Recipe, scale: float) -> None:
    short = overridden(recipe, scale=scale)
    assert short.epochs == math.ceil(scale * recipe.epochs)
    assert short.checks()[-1] == short.epochs
    assert short.rate(0) == recipe.rate(0)
    assert short.rate(short.epochs) == pytest.approx(recipe.rate(recipe.epochs))


@pytest.mark.parametrize("recipe", [HARD, RDED])
@pytest.mark.parametrize("checks", [1, 5])
def test_as_many_tests_as_were_asked_for(recipe: Recipe, checks: int) -> None:
    assert len(overridden(recipe, checks=checks).checks()) in (checks, checks + 1)


def test_what_was_overridden_is_said_with_both_numbers() -> None:
    used = overridden(HARD, epochs=100, precision="bfloat16")
    assert differences(HARD, used) == {
        "epochs": {"published": 2000, "used": 100},
        "check_every": {"published": 20, "used": 1},
        "precision": {"published": "float32", "used": "bfloat16"},
    }


def test_a_recipe_that_was_followed_has_no_differences() -> None:
    assert differences(RDED, overridden(RDED)) == {}


def test_scale_and_epochs_together_are_refused() -> None:
    with pytest.raises(ConfigError, match="scale or epochs, not both"):
        overridden(HARD, scale=0.5, epochs=10)


def test_every_number_that_is_different_is_said() -> None:
    assert set(differences(HARD, replace(HARD, lighting=0.2, crop_scale=(0.1, 1.0)))) == {"lighting", "crop_scale"}
