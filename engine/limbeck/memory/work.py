"""What a job has to do, in numbers that a planner can count with: no image, no engine, no device."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True, kw_only=True)
class Walk:
    """Samples that are carried through the denoiser.

    Args:
        samples: How many; batches are filled with them up to the bucket.
        step_rows: For each step, the rows that a sample gives: 2 with guidance, 1 without.
    """

    samples: int
    step_rows: tuple[int, ...]

    def calls(self, bucket: int) -> int:
        """Calls of the trunk."""
        full, rest = divmod(self.samples, bucket)
        return sum(full * rows + -(-rows * rest // bucket) for rows in self.step_rows)


@dataclass(frozen=True, kw_only=True)
class Work:
    """The work of a method on a source.

    Args:
        class_images: Real images to read, by class; a class fills its last bucket of the encoder or backbone alone.
        images_per_class: Images to make, by class.
        walks: What goes through the denoiser.
        condition_times: Times for which a class's condition is computed, where it depends on the time.
        scratch_nbytes: What the method holds at most beside a batch: the latents of a class and what clusters them.
        map_samples: Noised latents whose diffusion features are taken.
        features_of_each: Rows that each real image gives the backbone: 1 for itself, more for crops of it.
        gradient_rows: Images whose gradient is taken, over all steps.
        interleaved: Whether the method goes back and forth between its networks, so that they have to be loaded
            together; otherwise it encodes, denoises and decodes a wave at a time, as the plan says.
    """

    class_images: tuple[int, ...]
    images_per_class: int
    walks: tuple[Walk, ...] = ()
    condition_times: int = 0
    scratch_nbytes: int
    map_samples: int = 0
    features_of_each: int = 1
    gradient_rows: int = 0
    interleaved: bool = False

    @property
    def num_images(self) -> int:
        """Images to make."""
        return len(self.class_images) * self.images_per_class

    def encode_calls(self, bucket: int) -> int:
        """Calls of the encoder."""
        return sum(-(-images // bucket) for images in self.class_images)

    def feature_calls(self, bucket: int) -> int:
        """Calls of the backbone."""
        return sum(-(-images * self.features_of_each // bucket) for images in self.class_images)

    def map_calls(self, bucket: int) -> int:
        """Calls of the part of the trunk that gives diffusion features."""
        return -(-self.map_samples // bucket)

    def decode_calls(self, bucket: int, wave: int) -> int:
        """Calls of the decoder, which takes `wave` latents at a time."""
        return sum(-(-(end - start) // bucket) for start, end in pairwise(self._waves(wave)))

    def trunk_calls(self, bucket: int) -> int:
        """Calls of the trunk."""
        return sum(walk.calls(bucket) for walk in self.walks)

    def conditions(self, wave: int, *, each_time: bool) -> int:
        """The most conditions that a wave of so many images needs, that of no class among them."""
        classes = min(len(self.class_images), -(-wave // self.images_per_class) + 1)
        return (classes + 1) * (self.condition_times if each_time else 1)

    def _waves(self, wave: int) -> list[int]:
        return [*range(0, self.num_images, wave), self.num_images]


@dataclass(frozen=True, kw_only=True)
class Arrays:
    """The sizes, in bytes, of what lies between engines.

    Args:
        image_nbytes: One image as float32.
        feature_image_nbytes: One image as the backbone reads it.
        latent_nbytes: One latent.
        condition_nbytes: What is kept of one condition: a modulation, or keys and values of a prompt.
        condition_each_time: Whether a condition holds for one time only.
        picture_nbytes: What decoding a stored picture takes at most.
        middle_nbytes: What a step cache keeps of one row of the denoiser at one step; 0 without.
        middles: How many of these it remembers.
    """

    image_nbytes: int
    picture_nbytes: int
    feature_image_nbytes: int = 0
    latent_nbytes: int = 0
    condition_nbytes: int = 0
    condition_each_time: bool = False
    middle_nbytes: int = 0
    middles: int = 0
