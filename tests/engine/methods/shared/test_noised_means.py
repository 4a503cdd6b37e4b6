from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from limbeck.methods.base import Progress
from limbeck.methods.shared.noised_means import noised_means
from limbeck.randomness import generator
from support.models import SCHEDULE


def draws(image: int) -> Iterator[tuple[int, np.ndarray]]:
    rng = generator(0, "class 0", image, "test")
    for _ in range(3):
        yield int(rng.integers(100, 700)), rng.standard_normal((2, 4, 4), np.float32)


def squares(noised: np.ndarray, times: np.ndarray, noise: np.ndarray) -> np.ndarray:
    return ((noised - noise) ** 2).sum(axis=1) + times[:, None, None]


def means(latents: np.ndarray, bucket: int) -> list[tuple[int, np.ndarray]]:
    made = noised_means(enumerate(latents), num_draws=3, draws=draws, ask=squares, schedule=SCHEDULE, bucket=bucket)
    return [one for batch in made if not isinstance(batch, Progress) for one in batch]


def latents(count: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((count, 2, 4, 4)).astype(np.float32)


def test_a_mean_is_that_of_its_images_draws() -> None:
    for image, found in means(latents(4), bucket=5):
        asked = []
        for time, noise in draws(image):
            level = SCHEDULE.alpha_bar(np.array([time]))[0]
            noised = np.sqrt(level) * latents(4)[image] + np.sqrt(1 - level) * noise
            asked.append(((noised - noise) ** 2).sum(axis=0) + time)
        np.testing.assert_allclose(found, np.mean(asked, axis=0), rtol=1e-5)


def test_means_are_the_same_to_the_bit_in_any_bucket() -> None:
    expected = means(latents(7), bucket=1)
    for bucket in (2, 4, 100):
        found = means(latents(7), bucket)
        assert [image for image, _ in found] == list(range(7))
        assert all(np.array_equal(one[1], other[1]) for one, other in zip(found, expected, strict=True))


def test_batches_are_filled_across_images() -> None:
    sizes = []

    def ask(noised: np.ndarray, times: np.ndarray, noise: np.ndarray) -> np.ndarray:
        sizes.append(len(noised))
        return squares(noised, times, noise)

    list(noised_means(enumerate(latents(4)), num_draws=3, draws=draws, ask=ask, schedule=SCHEDULE, bucket=5))
    assert sizes == [5, 5, 2]


def test_no_more_latents_are_taken_than_a_batch_needs() -> None:
    taken = 0

    def stream() -> Iterator[tuple[int, np.ndarray]]:
        nonlocal taken
        for image, latent in enumerate(latents(50)):
            taken += 1
            yield image, latent

    for number, _ in enumerate(
        noised_means(stream(), num_draws=3, draws=draws, ask=squares, schedule=SCHEDULE, bucket=6), start=1
    ):
        assert taken <= 2 * number
