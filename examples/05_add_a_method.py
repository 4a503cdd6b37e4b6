"""A method of one's own: written, checked against the contract, and run on the shipped pack."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import ClassVar, Self

import numpy as np

from limbeck.data.base import Fit, ImageSource
from limbeck.errors import ConfigError
from limbeck.memory.work import Work
from limbeck.methods.base import NO_STATES, DistilledImages, Event, Progress, State, Unit
from limbeck.methods.shared.by_class import class_counts, one_unit_a_class, refuse_small_classes
from limbeck.methods.shared.encoding import encoded
from limbeck.models import Models, Part
from limbeck.randomness import generator


@dataclass(frozen=True, kw_only=True)
class Blend:
    """The mean, between latents, of a few real images of a class.

    Args:
        ipc: Images per class.
        seed: With class name and index, fixes an image.
        num_parts: Real images in each blend.
        fit: How real images become square.
    """

    name: ClassVar[str] = "blend"
    needs: ClassVar[frozenset[Part]] = frozenset({"codec"})
    ipc: int
    seed: int = 0
    num_parts: int = 2
    fit: Fit = "crop"

    def __post_init__(self) -> None:
        """Reject settings that could only fail later, inside a job."""
        if self.num_parts < 1:
            raise ConfigError(f"num_parts must be at least 1, got {self.num_parts}")

    @classmethod
    def faithful(cls, *, ipc: int, seed: int = 0) -> Self:
        """The same: there is no paper to be faithful to."""
        return cls(ipc=ipc, seed=seed)

    def check(self, source: ImageSource, models: Models) -> None:
        """Refuse classes that are smaller than a blend or than what is to be made."""
        refuse_small_classes(source, ipc=max(self.ipc, self.num_parts))

    def warm_up(self) -> None:
        """Nothing: NumPy is all it uses."""

    def units(self, source: ImageSource) -> Sequence[Unit]:
        """One unit a class."""
        return one_unit_a_class(source)

    def work(self, source: ImageSource, models: Models) -> Work:
        """Encode every image, decode the blends."""
        blends = self.ipc * 4 * prod(models.latent_shape)
        return Work(class_images=class_counts(source), images_per_class=self.ipc, scratch_nbytes=blends)

    def distill(
        self,
        units: Sequence[Unit],
        source: ImageSource,
        models: Models,
        *,
        resume: Mapping[int, State] = NO_STATES,
    ) -> Iterator[Event]:
        """Blend class by class; the latents of a class are never held together."""
        for unit in units:
            (class_id,) = unit.class_ids
            name, names = source.class_names[class_id], source.names(class_id)
            parts = [self._parts(name, index, len(names)) for index in range(self.ipc)]
            blends, done = np.zeros((self.ipc, *models.latent_shape), np.float32), 0
            for latents in encoded(class_id, source, models, fit=self.fit):
                for index, positions in enumerate(parts):
                    here = [position - done for position in positions if done <= position < done + len(latents)]
                    blends[index] += latents[here].sum(axis=0) / self.num_parts
                done += len(latents)
                yield Progress(f"encode {name}", done, len(names))
            images = []
            for start in range(0, self.ipc, models.images_at_a_time):
                yield Progress(f"decode {name}", start, self.ipc)
                images.append(models.codec.decode(blends[start : start + models.images_at_a_time]))
            rows = [
                {"seed": self.seed, "index": index, "blended": [names[position] for position in positions]}
                for index, positions in enumerate(parts)
            ]
            yield DistilledImages(unit, np.concatenate(images), unit.class_ids * self.ipc, tuple(rows))

    def _parts(self, class_name: str, index: int, count: int) -> list[int]:
        rng = generator(self.seed, class_name, index, "parts")
        return [int(position) for position in rng.choice(count, self.num_parts, replace=False)]


if __name__ == "__main__":
    from limbeck.backends.onnxruntime import OnnxRuntime
    from limbeck.testing.contract import CHECKS, Subject
    from limbeck_server.jobs import DistillJob
    from limbeck_server.runner.local import run_distill

    for check in CHECKS:
        check(Subject(Blend))
        print(f"kept: {check.__name__}")
    job = DistillJob(
        method=Blend(ipc=1),
        pack="mini",
        data=str(Path(__file__).parent / "data/sign_digits/test"),
        out=Path(tempfile.mkdtemp()) / "distilled",
        backend=OnnxRuntime(),
    )
    result = run_distill(job)
    print(f"{result.images} images of {result.classes} classes, to look at: {result.out / 'preview.png'}")
