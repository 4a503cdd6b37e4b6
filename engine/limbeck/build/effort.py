"""How much the quality gate asks: as much as the networks' speed allows in the time there is."""

from __future__ import annotations

from dataclasses import dataclass

from limbeck.build.observe import Questions
from limbeck.pack import DenoiserInfo, PackManifest

COMMON_CLASSES = ("dog", "cat", "car", "bird", "ship", "horse", "tree", "house", "flower", "chair")
"""For a network that takes prompts and has no list of classes: nouns that any of them knows."""

GATE_SECONDS = 240.0
"""How long one candidate may be asked, if nothing else is said: short beside the hours that a distillation takes."""


@dataclass(frozen=True)
class _Level:
    classes: int
    per_class: int
    steps: int
    inversion_steps: int
    score_times: int


_LEVELS = (
    _Level(2, 2, 4, 2, 1),
    _Level(3, 3, 4, 3, 3),
    _Level(5, 4, 6, 4, 4),
    _Level(10, 4, 10, 6, 6),
    _Level(10, 10, 20, 10, 10),
)
"""Each asks about three times what the one before asks. The first has too few images for their statistics."""


def choose_questions(
    manifest: PackManifest,
    *,
    row_seconds: float,
    seconds: float = GATE_SECONDS,
    quick: bool = False,
    seed: int = 0,
    least_steps: int = 1,
) -> Questions | None:
    """The most questions whose network rows fit the time; at least the fewest.

    Args:
        manifest: Of the pack.
        row_seconds: What one row of the denoiser takes.
        seconds: The time that one candidate may be asked.
        quick: The fewest questions, whatever the time.
        seed: Fixes every random number.
        least_steps: Of every walk; what is judged may need longer ones than the level has.

    Returns:
        None for a pack that cannot generate.
    """
    if manifest.denoiser is None or manifest.codec is None or manifest.image_size is None:
        return None
    names = manifest.denoiser.classes if isinstance(manifest.denoiser, DenoiserInfo) else COMMON_CLASSES
    levels = [_questions(level, names, seed, least_steps) for level in (_LEVELS[:1] if quick else _LEVELS)]
    fitting = [asked for asked in levels if asked.denoiser_rows * row_seconds <= seconds]
    return max(fitting or levels[:1], key=lambda asked: asked.denoiser_rows)


def _questions(level: _Level, names: tuple[str, ...], seed: int, least_steps: int) -> Questions:
    count = min(level.classes, len(names))
    return Questions(
        classes=tuple(names[i * len(names) // count] for i in range(count)),
        per_class=level.per_class,
        steps=max(level.steps, least_steps),
        inversion_steps=max(level.inversion_steps, least_steps),
        score_times=level.score_times,
        seed=seed,
    )
