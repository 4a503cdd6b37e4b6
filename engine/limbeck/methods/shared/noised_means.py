"""The mean, over draws of time and noise, of a map of each of many latents: batches are filled across latents.

A diffusion network is asked about a real image by noising its latent. One draw tells little, so each latent is
noised a number of times, and what the network makes of the draws is averaged.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from limbeck.arrays import Array, Latents, Times
from limbeck.diffusion.schedule import NoiseSchedule
from limbeck.methods.base import Progress

Draws = Callable[[int], Iterable[tuple[int, Array]]]
"""The draws of an image: each a time, and noise of the shape of a latent."""

Ask = Callable[[Latents, Times, Latents], Array]
"""Noised latents, their times and their noise to one map each."""


def noised_means(
    latents: Iterable[tuple[int, Array] | Progress],
    *,
    num_draws: int,
    draws: Draws,
    ask: Ask,
    schedule: NoiseSchedule,
    bucket: int,
) -> Iterator[Progress | list[tuple[int, Array]]]:
    """After each batch, the means that it finished, as (image, map), in the order of `latents`.

    An image's draws are added in their order, so that its mean does not depend on the bucket.

    Args:
        latents: Image and latent, shape (channels, height, width); the progress of making them is passed on.
        num_draws: How many draws each has.
        draws: The draws of an image.
        ask: Called with `bucket` samples at most.
        schedule: How noise is added.
        bucket: Samples that share a batch.
    """
    waiting: list[_Sample] = []
    means: deque[_Mean] = deque()
    for latent in latents:
        if isinstance(latent, Progress):
            yield latent
            continue
        image, clean = latent
        means.append(_Mean(image))
        for time, noise in draws(image):
            waiting.append(_Sample(means[-1], clean, time, noise))
            if len(waiting) == bucket:
                _add(waiting, ask, schedule)
                waiting.clear()
                yield _finished(means, num_draws)
    if waiting:
        _add(waiting, ask, schedule)
        yield _finished(means, num_draws)


@dataclass(eq=False)
class _Mean:
    """The sum of an image's maps, as far as they are made."""

    image: int
    added: int = 0
    sum: Array | float = 0.0


@dataclass(frozen=True, eq=False)
class _Sample:
    mean: _Mean
    latent: Array
    time: int
    noise: Array


def _add(samples: list[_Sample], ask: Ask, schedule: NoiseSchedule) -> None:
    noise = np.stack([sample.noise for sample in samples])
    times = np.array([sample.time for sample in samples], np.int64)
    noised = schedule.add_noise(np.stack([sample.latent for sample in samples]), noise, times)
    for sample, made in zip(samples, ask(noised, times, noise), strict=True):
        sample.mean.sum = sample.mean.sum + made.astype(np.float64)
        sample.mean.added += 1


def _finished(means: deque[_Mean], num_draws: int) -> list[tuple[int, Array]]:
    """The means in front that are complete, taken out."""
    done = []
    while means and means[0].added == num_draws:
        mean = means.popleft()
        done.append((mean.image, np.asarray(mean.sum / num_draws)))
    return done
