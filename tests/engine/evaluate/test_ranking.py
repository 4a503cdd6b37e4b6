from __future__ import annotations

import pytest

from limbeck.errors import ConfigError
from limbeck.evaluate.ranking import Accuracies, augmentation_robust_score, label_robust_score, squashed


@pytest.mark.parametrize(("alpha", "score"), [(1, 1), (-1, 0)])
def test_the_scores_go_from_nothing_to_one(alpha: float, score: float) -> None:
    assert squashed(alpha) == pytest.approx(score)


def test_the_best_and_the_worst_set_there_can_be_have_the_scores_at_the_ends_of_their_weights() -> None:
    best = Accuracies(real_hard=0, distilled_hard=1, distilled=1, random=0)
    worst = Accuracies(real_hard=1, distilled_hard=0, distilled=0, random=1)
    assert label_robust_score(best) == pytest.approx(1)
    assert label_robust_score(worst) == pytest.approx(0)


def test_recovery_and_improvement_are_differences_of_accuracies() -> None:
    found = Accuracies(real_hard=0.9, distilled_hard=0.6, distilled=0.8, random=0.5)
    assert found.hard_label_recovery == pytest.approx(0.3)
    assert found.improvement_over_random == pytest.approx(0.3)
    assert label_robust_score(found) == pytest.approx(squashed(0))
    assert label_robust_score(found, weight=1) == pytest.approx(squashed(0.3))


def test_augmentation_is_weighed_against_none() -> None:
    given = {"distilled_augmented": 0.8, "random_augmented": 0.5, "distilled_plain": 0.4, "random_plain": 0.5}
    assert augmentation_robust_score(**given, weight=1) == pytest.approx(squashed(0.3))
    assert augmentation_robust_score(**given, weight=0) == pytest.approx(squashed(-0.1))


def test_percentages_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"fractions, 0\.\.1, got 52\.5; divide percentages by 100"):
        Accuracies(real_hard=0.9, distilled_hard=52.5, distilled=0.8, random=0.5)
