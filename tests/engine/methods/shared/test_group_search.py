from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import skew

from limbeck.arrays import Array
from limbeck.errors import ConfigError
from limbeck.methods.base import Progress
from limbeck.methods.shared.group_search import GroupSearch, Skew, exact_group, exact_group_nbytes
from limbeck.randomness import generator

MEAN = np.linspace(-2, 2, 12)
STD = np.linspace(0.1, 1.5, 12)


def stream(index: int) -> np.random.Generator:
    return generator(3, "class", index, "group")


def search(**settings: object) -> GroupSearch:
    return GroupSearch(**{"samples": 4, "dimensions": 12, "num_groups": 50, **settings})  # type: ignore[arg-type]


def best(searched: GroupSearch) -> Array:
    """The winner; what is done is passed over."""
    steps = searched.best(stream, MEAN, STD, stage="draw")
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: Array = end.value
            return found


def peak_nbytes(run: Callable[[], object]) -> int:
    """The most that NumPy and Python hold at a time in a second run."""
    run()
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def distance(group: np.ndarray, *, kind: Skew, weight: float, of_mean: float = 1, of_spread: float = 1) -> float:
    """The paper's formula by scipy, of a group as it would be used."""
    over = skew(group, axis=0) if kind == "samples" else skew(group, axis=1)
    centers = np.linalg.norm(group.mean(axis=0) - MEAN)
    spreads = np.linalg.norm(group.std(axis=0, ddof=1) - STD)
    return float(of_mean * centers + of_spread * spreads + weight * np.linalg.norm(over))


@pytest.mark.parametrize("kind", ["samples", "features"])
def test_the_winner_is_the_group_that_the_formula_likes_best(kind: Skew) -> None:
    drawn = [MEAN + STD * stream(i).standard_normal((4, 12), dtype=np.float32) for i in range(50)]
    nearest = min(drawn, key=lambda group: distance(group, kind=kind, weight=0.1))
    found = best(search(skew=kind, skew_weight=0.1))
    # the kernel's skew divides by the unbiased spread, scipy's by the biased one; neither changes who wins here
    assert found == pytest.approx(nearest, abs=1e-6)


@pytest.mark.parametrize(("of_mean", "of_spread"), [(1.0, 0.0), (0.0, 1.0), (0.2, 3.0)])
def test_the_weights_of_mean_and_spread_decide_who_wins(of_mean: float, of_spread: float) -> None:
    drawn = [MEAN + STD * stream(i).standard_normal((4, 12), dtype=np.float32) for i in range(50)]
    nearest = min(
        drawn, key=lambda group: distance(group, kind="samples", weight=0, of_mean=of_mean, of_spread=of_spread)
    )
    found = best(search(mean_weight=of_mean, std_weight=of_spread, skew_weight=0))
    assert found == pytest.approx(nearest, abs=1e-6)


@pytest.mark.parametrize("scratch_bytes", [4 * 12 * 36, 7 * 4 * 12 * 36, 2**20])
def test_the_winner_does_not_depend_on_how_many_groups_are_held(scratch_bytes: int) -> None:
    found = best(search(scratch_bytes=scratch_bytes))
    assert np.array_equal(found, best(search()))


def test_an_event_comes_whenever_a_scratch_full_of_groups_is_judged() -> None:
    drawn: list[int] = []

    def counted(index: int) -> np.random.Generator:
        drawn.append(index)
        return stream(index)

    seven = search(scratch_bytes=7 * 4 * 12 * 36).best(counted, MEAN, STD, stage="draw")
    judged = 0
    for event in seven:
        assert len(drawn) - judged <= 7
        judged = len(drawn)
        assert event == Progress("draw", judged, 50)
    assert judged == 50


@pytest.mark.parametrize("kind", ["samples", "features"])
@pytest.mark.parametrize("samples", [2, 10])
def test_a_search_holds_no_more_than_its_scratch_however_many_groups_it_compares(samples: int, kind: Skew) -> None:
    dimensions, chunk = 256, 100
    many = GroupSearch(
        samples=samples,
        dimensions=dimensions,
        num_groups=5 * chunk,
        skew=kind,
        scratch_bytes=chunk * samples * dimensions * 36,
    )
    ones = np.ones(dimensions)
    taken = peak_nbytes(lambda: list(many.best(stream, 0 * ones, ones, stage="draw")))
    # generators, and a reduction's buffer of NumPy's own
    assert many.scratch_bytes / 2 < taken <= many.scratch_bytes + 2**17


def unbiased_skew_distance(group: np.ndarray, *, kind: Skew, weight: float) -> float:
    """As the kernel has it: over the group, the deviations are divided by the unbiased spread."""
    biased = distance(group, kind=kind, weight=0)
    over = skew(group, axis=0) * ((len(group) - 1) / len(group)) ** 1.5 if kind == "samples" else skew(group, axis=1)
    return float(biased + weight * np.linalg.norm(over))


@pytest.mark.parametrize(("kind", "weight"), [("samples", 0.0), ("samples", 0.5), ("features", 0.1)])
def test_more_groups_never_fit_worse(kind: Skew, weight: float) -> None:
    """Without skew, with that of the default and with that of the faithful preset."""
    found = [best(search(num_groups=m, skew=kind, skew_weight=weight)) for m in (1, 5, 25, 125)]
    falling = [unbiased_skew_distance(group, kind=kind, weight=weight) for group in found]
    assert falling == sorted(falling, reverse=True)


def test_one_group_is_plain_gaussian_sampling() -> None:
    found = best(search(num_groups=1))
    assert found == pytest.approx(MEAN + STD * stream(0).standard_normal((4, 12), dtype=np.float32), abs=1e-6)


@pytest.mark.parametrize("kind", ["samples", "features"])
def test_a_group_of_one_is_finite(kind: Skew) -> None:
    assert np.isfinite(best(search(samples=1, skew=kind))).all()


def test_a_scratch_too_small_for_one_group_is_refused_with_what_it_needs() -> None:
    with pytest.raises(ConfigError, match="takes 1,728 bytes; scratch_bytes allows 100"):
        search(scratch_bytes=100)


def test_an_exact_group_has_the_mean_and_spread_of_its_class() -> None:
    group = exact_group(stream(0), 5, MEAN, STD).astype(np.float64)
    assert group.mean(axis=0) == pytest.approx(MEAN, abs=1e-6)
    assert group.std(axis=0, ddof=1) == pytest.approx(STD, rel=1e-6)


def test_an_exact_group_of_one_is_the_draw_itself() -> None:
    found = exact_group(stream(0), 1, MEAN, STD)
    assert found == pytest.approx(MEAN + STD * stream(0).standard_normal((1, 12), dtype=np.float32), abs=1e-6)


@pytest.mark.parametrize(("samples", "dimensions"), [(1, 4096), (2, 4096), (10, 4096), (50, 1024)])
def test_an_exact_group_takes_no_more_than_it_says(samples: int, dimensions: int) -> None:
    ones = np.ones(dimensions)
    taken = peak_nbytes(lambda: exact_group(stream(0), samples, 0 * ones, ones))
    said = exact_group_nbytes(samples, dimensions)
    # a reduction's buffer of NumPy's own
    assert said / 2 < taken <= said + 2**17
