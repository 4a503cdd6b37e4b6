"""`Observer`: one pack on one backend, with what it answered, so that nothing is asked twice.

Answers are remembered under the graphs that they depend on: a candidate that changes only the decoder does not sample
again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from limbeck.arrays import Features, Images, Latents
from limbeck.backbone import open_backbone
from limbeck.backends.base import Backend
from limbeck.build import observe
from limbeck.build.observe import Predictions, Questions, Trajectory
from limbeck.diffusion.denoisers import denoiser_roles
from limbeck.diffusion.step_cache import StepCache
from limbeck.models import Models, open_models
from limbeck.pack import Pack, Role

_Answer = TypeVar("_Answer")

Memory = dict[tuple[object, ...], Any]
"""Answers by what was asked and the graphs and backend that gave them."""


class Observer:
    """Asks one pack, which must be able to generate.

    Args:
        pack: The pack.
        backend: What runs it.
        questions: How much is asked.
        bucket: Samples in one engine call.
        memory: Where answers are remembered; observers of one gate share it.
        reference: Whose trajectory and images the questions are about; the observer itself if not given.
        step_cache: With which the pack denoises.
    """

    def __init__(
        self,
        pack: Pack,
        backend: Backend,
        questions: Questions,
        *,
        bucket: int,
        memory: Memory,
        reference: Observer | None = None,
        step_cache: StepCache | None = None,
    ) -> None:
        """Keep what is asked; nothing is compiled before `engines`."""
        self.pack = pack
        self.questions = questions
        self._backend = backend
        self._bucket = bucket
        self._memory = memory
        self._reference = reference or self
        self._step_cache = step_cache
        self._models: Models | None = None
        assert pack.manifest.denoiser is not None, "the gate only observes packs that can generate"
        self._denoiser = denoiser_roles(pack.manifest.denoiser, step_cache)

    @contextmanager
    def engines(self) -> Iterator[None]:
        """Within the block, what is not yet remembered can be answered."""
        with open_models(self.pack, self._backend, bucket=self._bucket, step_cache=self._step_cache) as models:
            self._models = models
            try:
                yield
            finally:
                self._models = None

    @property
    def trajectory(self) -> Trajectory:
        """Guided samples from the questions' noise."""
        return self._remembered("trajectory", self._denoiser, lambda m: observe.generate(m, self.questions, draw=0))

    @property
    def predictions(self) -> Predictions:
        """The noise seen along the reference's trajectory."""
        given = self._reference
        return self._remembered(
            "predictions", self._denoiser, lambda m: observe.predict(m, self.questions, given.trajectory)
        )

    @property
    def images(self) -> Images:
        """The decoded samples."""
        return self._remembered(
            "images", (*self._denoiser, "decoder"), lambda m: observe.stored(m.codec.decode(self.trajectory.final))
        )

    @property
    def other_images(self) -> Images:
        """Samples from other noise."""

        def make(models: Models) -> Images:
            return observe.stored(models.codec.decode(observe.generate(models, self.questions, draw=1).final))

        return self._remembered("other images", (*self._denoiser, "decoder"), make)

    @property
    def decoded(self) -> Images:
        """The reference's samples, decoded here."""
        given = self._reference
        return self._remembered("decoded", ("decoder",), lambda m: m.codec.decode(given.trajectory.final))

    @property
    def encoded(self) -> Latents:
        """The reference's images, encoded here."""
        given = self._reference
        return self._remembered("encoded", ("encoder",), lambda m: m.codec.encode(given.images))

    @property
    def scores(self) -> NDArray[np.float64]:
        """Selection scores of the reference's images."""
        given = self._reference
        return self._remembered(
            "scores", (*self._denoiser, "encoder"), lambda m: observe.scores(m, self.questions, given.images)
        )

    @property
    def spread(self) -> NDArray[np.float64]:
        """The spread of each class of the reference's images, inverted here."""
        given = self._reference
        return self._remembered(
            "spread", (*self._denoiser, "encoder"), lambda m: observe.class_spread(m, self.questions, given.images)
        )

    def features(self, of: Observer, *, other: bool = False) -> Features:
        """Features of the images of `of`, or of those from other noise, by this pack's own backbone."""

        def make() -> Features:
            with open_backbone(self.pack, self._backend, bucket=self._bucket) as backbone:
                return observe.features(backbone, of.other_images if other else of.images)

        return self._kept(("features", other, self._key(("backbone",)), of._key((*of._denoiser, "decoder"))), make)

    def _remembered(self, name: str, roles: tuple[Role, ...], make: Callable[[Models], _Answer]) -> _Answer:
        def ask() -> _Answer:
            assert self._models is not None, f"{name} was asked outside of engines()"
            return make(self._models)

        return self._kept((name, *self._key(roles)), ask)

    def _kept(self, key: tuple[object, ...], make: Callable[[], _Answer]) -> _Answer:
        if key not in self._memory:
            self._memory[key] = make()
        return cast(_Answer, self._memory[key])

    def _key(self, roles: tuple[Role, ...]) -> tuple[object, ...]:
        cache = self._step_cache if "shallow" in roles else None
        return (self._backend.name, self._backend.fingerprint(), cache, *(digest(self.pack, role) for role in roles))


def digest(pack: Pack, role: Role) -> tuple[str, ...]:
    """The digests of the files of a graph, as the manifest lists them; empty where the pack has no such graph."""
    entry = pack.manifest.graphs.get(role)
    names = () if entry is None else (entry.file, *entry.external)
    return tuple(pack.manifest.files[name].sha256 for name in names)
