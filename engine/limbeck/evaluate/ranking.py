"""DD-Ranking: what a distilled set is worth apart from its soft labels and from what random images give anyway.

Li et al., "DD-Ranking: Rethinking the Evaluation of Dataset Distillation", 2025. Accuracies are fractions here. The
official code puts percentage points into the exponential, so that its scores have no bounds; these lie in 0..1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from limbeck.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Accuracies:
    """Test accuracies, 0..1, of one student.

    Args:
        real_hard: Trained on all real images with hard labels.
        distilled_hard: Trained on the distilled images with hard labels.
        distilled: Trained on the distilled images with the labels that are evaluated.
        random: Trained on as many random real images with the same kind of labels.
    """

    real_hard: float
    distilled_hard: float
    distilled: float
    random: float

    def __post_init__(self) -> None:
        """Refuse percentages."""
        _refuse_percentages(*vars(self).values())

    @property
    def hard_label_recovery(self) -> float:
        """HLR: what hard labels lose against all real images; smaller is better."""
        return self.real_hard - self.distilled_hard

    @property
    def improvement_over_random(self) -> float:
        """IOR: what the set gains over random images; larger is better."""
        return self.distilled - self.random


def label_robust_score(accuracies: Accuracies, *, weight: float = 0.5) -> float:
    """LRS of `weight` times IOR less the rest times HLR, 0..1."""
    return squashed(weight * accuracies.improvement_over_random - (1 - weight) * accuracies.hard_label_recovery)


def augmentation_robust_score(
    *,
    distilled_augmented: float,
    random_augmented: float,
    distilled_plain: float,
    random_plain: float,
    weight: float = 0.5,
) -> float:
    """ARS: the gain over random images with augmentation and without, `weight` times the one and the rest the other."""
    _refuse_percentages(distilled_augmented, random_augmented, distilled_plain, random_plain)
    return squashed(weight * (distilled_augmented - random_augmented) + (1 - weight) * (distilled_plain - random_plain))


def squashed(alpha: float) -> float:
    """(e^alpha - 1/e) / (e - 1/e): 0 at -1, 1 at 1."""
    return (math.exp(alpha) - math.exp(-1)) / (math.exp(1) - math.exp(-1))


def _refuse_percentages(*accuracies: float) -> None:
    if wrong := [value for value in accuracies if not 0 <= value <= 1]:
        raise ConfigError(f"accuracies are fractions, 0..1, got {wrong[0]}; divide percentages by 100")
