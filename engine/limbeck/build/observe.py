"""What a pack's engines do with the same questions: the observations that the quality gate compares.

Each function asks one thing that a distillation method asks. All randomness is from (seed, class, index), so two packs
are asked exactly the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from limbeck.arrays import Features, Images, Latents, Times
from limbeck.backbone import PackBackbone
from limbeck.data.decode import decode
from limbeck.diffusion.base import Condition
from limbeck.diffusion.guidance import Guided
from limbeck.diffusion.samplers import ddim, finish, sampler
from limbeck.diffusion.schedule import CLEAN
from limbeck.errors import ConfigError
from limbeck.models import Models
from limbeck.randomness import generator

DOMAIN = 0.6
"""The fraction of all times that D3HR inverts images to (time 600 of 1000 in its official code)."""

SCORE_TIMES = (0.1, 0.7)
"""The fractions of all times between which selection scores are taken (diff-mining's script; DDPS builds on it)."""

_WINDOWS = 2  # a window is half an image wide: four patches of an image are ranked, as RDED's mosaics need


@dataclass(frozen=True, kw_only=True)
class Questions:
    """How much is asked.

    Args:
        classes: Names of the classes to generate.
        per_class: Images of each.
        steps: Of a denoising trajectory (DPM-Solver++).
        inversion_steps: Of an image's way up to `DOMAIN` (DDIM).
        score_times: Times at which an image is scored.
        groups: Groups of latents among which D3HR's choice is made.
        guidance: Scale of classifier-free guidance.
        seed: Fixes every random number.
    """

    classes: tuple[str, ...]
    per_class: int
    steps: int
    inversion_steps: int
    score_times: int
    groups: int = 1000
    guidance: float = 4.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Reject counts that leave nothing to compare."""
        for field in ("per_class", "steps", "inversion_steps", "score_times", "groups"):
            if getattr(self, field) < 1:
                raise ConfigError(f"{field} must be at least 1, got {getattr(self, field)}")
        if not self.classes:
            raise ConfigError("the quality gate needs at least one class to generate")

    @property
    def names(self) -> list[str]:
        """The class of every image, class by class."""
        return [name for name in self.classes for _ in range(self.per_class)]

    @property
    def labels(self) -> NDArray[np.int64]:
        """The place of every image's class in `classes`."""
        return np.repeat(np.arange(len(self.classes)), self.per_class)

    @property
    def num_images(self) -> int:
        """Images of one set."""
        return len(self.classes) * self.per_class

    @property
    def denoiser_rows(self) -> int:
        """Network rows that one candidate costs when everything is asked of it."""
        return 2 * self.num_images * (2 * self.steps + self.inversion_steps + self.score_times)


@dataclass(frozen=True)
class Trajectory:
    """One set of guided samples on their way from noise.

    Args:
        latents: Before each step, shape (steps, images, channels, height, width).
        times: Of those, shape (steps,).
        final: The clean latents, shape (images, channels, height, width).
    """

    latents: NDArray[np.float32]
    times: Times
    final: Latents


@dataclass(frozen=True)
class Predictions:
    """The network's noise along a trajectory, with the class and without; both of the shape of its latents."""

    conditional: NDArray[np.float32]
    null: NDArray[np.float32]


def generate(models: Models, questions: Questions, *, draw: int) -> Trajectory:
    """Guided samples of every class; another `draw` starts in other noise."""
    walk = sampler("dpm++2m")
    times = walk.times(models.schedule, questions.steps)
    states = [_noise(questions, models.latent_shape, f"draw {draw}")]
    guided = Guided(models.denoiser, models.conditioning, scale=questions.guidance, num_times=models.schedule.num_times)
    condition = models.conditioning.of_classes(questions.names)
    states += walk(guided, states[0], condition, schedule=models.schedule, times=times)
    return Trajectory(np.stack(states[:-1]), times[:-1], states[-1])


def predict(models: Models, questions: Questions, trajectory: Trajectory) -> Predictions:
    """The noise that the network sees at every latent of a trajectory, which may be another network's."""
    steps, images = trajectory.latents.shape[:2]
    flat = trajectory.latents.reshape(steps * images, *trajectory.latents.shape[2:])
    condition = models.conditioning.of_classes(questions.names).take(list(range(images)) * steps)
    both = _both(models, flat, np.repeat(trajectory.times, images), condition)
    return Predictions(*(part.reshape(trajectory.latents.shape) for part in both))


def scores(models: Models, questions: Questions, images: Images) -> NDArray[np.float64]:
    """Selection scores of the windows of every image: how much its label helps to denoise it there.

    The mean over times of loss(null) - loss(label), both at the same noise; four windows an image. It is the score by
    which diffusion-driven patch selection ranks (Siglidis et al., ECCV 2024, eq. 3), shape (images, 2, 2).
    """
    latents = models.codec.encode(images)
    condition = models.conditioning.of_classes(questions.names)
    low, high = (int(fraction * (models.schedule.num_times - 1)) for fraction in SCORE_TIMES)
    differences = []
    for time in np.linspace(low, high, questions.score_times).astype(np.int64):
        times = np.full(len(latents), time)
        noise = _noise(questions, models.latent_shape, f"score at {time}")
        with_label, without = _both(models, models.schedule.add_noise(latents, noise, times), times, condition)
        differences.append(((without - noise) ** 2 - (with_label - noise) ** 2).mean(axis=1, dtype=np.float64))
    return _window_means(np.mean(differences, axis=0))


def class_spread(models: Models, questions: Questions, images: Images) -> NDArray[np.float64]:
    """The spread of each class in the noised latent space, shape (classes, dimensions).

    Images are encoded and inverted to `DOMAIN` under guidance, as D3HR does; the standard deviation over a class's
    images is what its group sampling needs. At least two images a class.
    """
    top = int(DOMAIN * models.schedule.num_times)
    times = np.append(CLEAN, np.linspace(0, top, questions.inversion_steps + 1)[1:].astype(np.int64))
    guided = Guided(models.denoiser, models.conditioning, scale=questions.guidance, num_times=models.schedule.num_times)
    condition = models.conditioning.of_classes(questions.names)
    latents = models.codec.encode(images)
    inverted = finish(latents, ddim(guided, latents, condition, schedule=models.schedule, times=times))
    by_class = inverted.reshape(len(questions.classes), questions.per_class, -1)
    return np.asarray(by_class.std(axis=1, ddof=1, dtype=np.float64))


def stored(images: Images) -> Images:
    """Images as a distilled set keeps them: 8 bits a channel."""
    return (np.round(images * 255) / 255).astype(np.float32)


def features(backbone: PackBackbone, images: Images) -> Features:
    """Features of images of any size, resized as a source would."""
    pictures = [
        decode(image.transpose(1, 2, 0), name="a generated image", size=backbone.image_size, fit="squash")
        for image in images
    ]
    return backbone.features(np.stack(pictures))


def _both(models: Models, latents: Latents, times: Times, condition: Condition) -> tuple[Latents, Latents]:
    """Noise with the condition and without, from one batch."""
    null = models.conditioning.null(len(latents))
    noise = models.denoiser(np.concatenate([latents] * 2), np.concatenate([times] * 2), condition.join(null))
    return noise[: len(latents)], noise[len(latents) :]


def _noise(questions: Questions, shape: tuple[int, int, int], use: str) -> Latents:
    return np.stack(
        [
            generator(questions.seed, name, index, use).standard_normal(shape, dtype=np.float32)
            for name in questions.classes
            for index in range(questions.per_class)
        ]
    )


def _window_means(maps: NDArray[np.float64]) -> NDArray[np.float64]:
    height, width = (size // _WINDOWS * _WINDOWS for size in maps.shape[1:])
    cut = maps[:, :height, :width].reshape(len(maps), _WINDOWS, height // _WINDOWS, _WINDOWS, width // _WINDOWS)
    return np.asarray(cut.mean(axis=(2, 4)))
