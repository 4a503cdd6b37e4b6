"""The stages of the quality gate, cheap ones first: what each asks of both packs, and the figures it makes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from limbeck.build.metrics import class_mean_distance, cosine, frechet_distance, rank_correlation
from limbeck.build.observe import Questions
from limbeck.build.observer import Observer
from limbeck.build.thresholds import Metric
from limbeck.evaluate.probe import FeatureSet, linear_probe
from limbeck.pack import PackManifest, Role
from limbeck.randomness import generator
from limbeck_kernels.denoise_step import guide
from limbeck_kernels.distances import relative_error
from limbeck_kernels.group_sampling import group_distances

DENOISER: tuple[Role, ...] = ("text_encoder", "conditioner", "trunk", "shallow")

_LEAST_IMAGES = 8
"""Below, the Fréchet distance has fewer than two directions worth fitting."""

_LEAST_TEST_IMAGES = 20
"""Below, a single test image moves a probe's accuracy by more than a point that matters."""

_IMAGES_PER_DIRECTION = 4
_GROUP_SIZE = 10  # the ipc at which D3HR reports most of its results
_EQUALLY_GOOD = 0.01
"""The best share of all groups counts as the same choice: the very best lie so close that rounding decides."""

_GROUP_CHUNK_NBYTES = 32 * 2**20

Figures = Mapping[Metric, float]


@dataclass(frozen=True)
class Stage:
    """One stage.

    Args:
        name: For progress.
        metrics: What it measures.
        roles: It is asked only if one of these graphs changed.
        answers: The reference's answers that it needs, by their names in `Observer`.
        why_not: Why it cannot be asked of this pack with these questions, or None.
        measure: The figures of (reference, candidate).
        walks: Whether a step cache shows in it. One that asks the denoiser at single times runs the whole network
            and would pass whatever the cache does.
        only_cached: Whether it is asked of a step cache only.
    """

    name: str
    metrics: tuple[Metric, ...]
    roles: tuple[Role, ...]
    answers: tuple[str, ...]
    why_not: Callable[[PackManifest, Questions], str | None]
    measure: Callable[[Observer, Observer], Figures]
    walks: bool = False
    only_cached: bool = False


def _noise(reference: Observer, candidate: Observer) -> Figures:
    expected, found = reference.predictions, candidate.predictions
    scale = reference.questions.guidance
    pairs = [(found.conditional, expected.conditional), (found.null, expected.null)]
    guided = guide(found.conditional, found.null, scale), guide(expected.conditional, expected.null, scale)
    steps = range(len(expected.null))
    return {
        "noise_error": _mean([relative_error(a[step], b[step]) for a, b in pairs for step in steps]),
        "noise_cosine": min(cosine(a[step], b[step]) for a, b in pairs for step in steps),
        "guided_error": _mean([relative_error(guided[0][step], guided[1][step]) for step in steps]),
    }


def _decoded(reference: Observer, candidate: Observer) -> Figures:
    difference = (candidate.decoded - reference.decoded).astype(np.float64)
    return {"decode_error": float(np.sqrt(np.mean(difference**2)))}


def _encoded(reference: Observer, candidate: Observer) -> Figures:
    return {"encode_error": relative_error(candidate.encoded, reference.encoded)}


def _features(reference: Observer, candidate: Observer) -> Figures:
    expected = reference.features(reference)
    found = candidate.features(reference)
    center = expected.mean(axis=0)
    return {"feature_error": relative_error(found - center, expected - center)}


def _walked(reference: Observer, candidate: Observer) -> Figures:
    pairs = zip(candidate.trajectory.final, reference.trajectory.final, strict=True)
    return {"walk_error": _mean([relative_error(found, expected) for found, expected in pairs])}


def _images(reference: Observer, candidate: Observer) -> Figures:
    if not np.isfinite(candidate.images).all():
        return {"frechet_ratio": float("inf"), "class_mean_ratio": float("inf")}
    expected = reference.features(reference)
    other = reference.features(reference, other=True)
    found = reference.features(candidate)
    dimensions = len(expected) // _IMAGES_PER_DIRECTION
    labels = reference.questions.labels
    return {
        "frechet_ratio": frechet_distance(found, expected, dimensions=dimensions)
        / frechet_distance(other, expected, dimensions=dimensions),
        "class_mean_ratio": class_mean_distance(found, expected, labels) / class_mean_distance(other, expected, labels),
    }


def _probe(reference: Observer, candidate: Observer) -> Figures:
    labels = reference.questions.labels
    test = FeatureSet(reference.features(reference, other=True), labels)
    own, theirs = (linear_probe(FeatureSet(reference.features(one), labels), test) for one in (reference, candidate))
    return {"probe_drop": own - theirs}


def _scores(reference: Observer, candidate: Observer) -> Figures:
    return {"score_rank": rank_correlation(candidate.scores, reference.scores)}


def _groups(reference: Observer, candidate: Observer) -> Figures:
    if not np.isfinite(candidate.spread).all():
        return {"group_regret": float("inf"), "group_agreement": 0.0}
    both = np.concatenate([reference.spread, candidate.spread])
    expected, found = np.split(_group_distances(reference.questions, both), 2)
    chosen = found.argmin(axis=1)
    distances = expected[np.arange(len(chosen)), chosen]
    equally_good = np.quantile(expected, _EQUALLY_GOOD, axis=1)
    return {
        "group_regret": float(np.max((distances - expected.min(axis=1)) / expected.std(axis=1))),
        "group_agreement": float(np.mean(distances <= equally_good)),
    }


def _group_distances(questions: Questions, std: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of the questions' groups, for every row of `std`; drawn anew in chunks, so that memory is bounded."""
    chunk = max(1, _GROUP_CHUNK_NBYTES // (8 * _GROUP_SIZE * std.shape[1]))
    parts = []
    for start in range(0, questions.groups, chunk):
        rng = generator(questions.seed, "", start, "groups")
        shape = (min(chunk, questions.groups - start), _GROUP_SIZE, std.shape[1])
        parts.append(group_distances(rng.standard_normal(shape, dtype=np.float32), std))
    return np.concatenate(parts, axis=1)


def _always(manifest: PackManifest, questions: Questions) -> None:
    return None


def _needs_backbone(manifest: PackManifest, questions: Questions) -> str | None:
    return None if manifest.backbone else "the pack has no backbone"


def _needs_images(manifest: PackManifest, questions: Questions) -> str | None:
    if questions.num_images < _LEAST_IMAGES:
        return f"{questions.num_images} images are too few, it takes {_LEAST_IMAGES}"
    return _needs_backbone(manifest, questions)


def _needs_test_images(manifest: PackManifest, questions: Questions) -> str | None:
    if questions.num_images < _LEAST_TEST_IMAGES:
        return f"{questions.num_images} test images are too few, it takes {_LEAST_TEST_IMAGES}"
    return "a probe needs two classes" if len(questions.classes) < 2 else _needs_backbone(manifest, questions)


def _needs_pairs(manifest: PackManifest, questions: Questions) -> str | None:
    return None if questions.per_class > 1 else "one image a class has no spread"


def _mean(values: list[float]) -> float:
    return float(np.mean(values))


STAGES = (
    Stage("noise", ("noise_error", "noise_cosine", "guided_error"), DENOISER, ("predictions",), _always, _noise),
    Stage("decoder", ("decode_error",), ("decoder",), ("decoded",), _always, _decoded),
    Stage("encoder", ("encode_error",), ("encoder",), ("encoded",), _always, _encoded),
    Stage("backbone", ("feature_error",), ("backbone",), ("images",), _needs_backbone, _features),
    Stage("walk", ("walk_error",), DENOISER, ("trajectory",), _always, _walked, walks=True, only_cached=True),
    Stage("scores", ("score_rank",), (*DENOISER, "encoder"), ("scores",), _always, _scores),
    Stage(
        "groups",
        ("group_regret", "group_agreement"),
        (*DENOISER, "encoder"),
        ("spread",),
        _needs_pairs,
        _groups,
        walks=True,
    ),
    Stage(
        "images",
        ("frechet_ratio", "class_mean_ratio"),
        (*DENOISER, "decoder"),
        ("images", "other_images"),
        _needs_images,
        _images,
        walks=True,
    ),
    Stage(
        "probe",
        ("probe_drop",),
        (*DENOISER, "decoder"),
        ("images", "other_images"),
        _needs_test_images,
        _probe,
        walks=True,
    ),
)
"""Every stage, in the order in which they are asked: by what they cost."""
