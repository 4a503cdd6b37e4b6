from __future__ import annotations

import numpy as np

from limbeck.methods.herding import herded


def test_each_choice_is_the_best_next_one_by_brute_force(rng: np.random.Generator) -> None:
    """iCaRL's algorithm 4 as it is written, over all images that are left."""
    points = rng.standard_normal((30, 6)).astype(np.float32)
    mean = points.astype(np.float64).mean(axis=0)
    chosen: list[int] = []
    for _ in range(12):
        left = [i for i in range(30) if i not in chosen]
        means = {i: points[[*chosen, i]].astype(np.float64).mean(axis=0) for i in left}
        chosen.append(min(left, key=lambda i: float(np.linalg.norm(mean - means[i]))))
    assert herded(points, 12) == chosen


def test_on_unit_vectors_it_is_wellings_herding(rng: np.random.Generator) -> None:
    """w <- w + mean - x with x = argmax <w, x>: the update of Welling 2009, without choosing an image again."""
    points = rng.standard_normal((40, 5)).astype(np.float32)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    mean = points.astype(np.float64).mean(axis=0)
    weights, chosen = mean.copy(), []
    for _ in range(15):
        scores = points @ weights
        scores[chosen] = -np.inf
        chosen.append(int(np.argmax(scores)))
        weights += mean - points[chosen[-1]]
    assert herded(points, 15) == chosen


def test_all_images_together_have_the_mean_of_the_class(rng: np.random.Generator) -> None:
    assert sorted(herded(rng.standard_normal((9, 3)).astype(np.float32), 9)) == list(range(9))


def test_the_mean_of_the_chosen_is_nearer_than_that_of_random_ones(rng: np.random.Generator) -> None:
    points = rng.standard_normal((200, 8)).astype(np.float32)

    def distance(rows: list[int]) -> float:
        return float(np.linalg.norm(points[rows].mean(axis=0) - points.mean(axis=0)))

    draws = [distance(rng.choice(200, 10, replace=False).tolist()) for _ in range(200)]
    assert distance(herded(points, 10)) < min(draws)
