"""Which images of a class are encoded, and what is told of it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from limbeck.arrays import Images, Latents
from limbeck.methods.base import Progress
from limbeck.methods.shared.encoding import encoded, image_latents
from support.models import gaussian_models
from support.sources import ArraySource, BlockCodec, blobs


class Counting(BlockCodec):
    """A codec that counts what it is given."""

    count = 0

    def encode(self, images: Images) -> Latents:
        self.count += len(images)
        return super().encode(images)


@pytest.mark.parametrize("wanted", [{0}, {2, 3, 6}, set(range(7)), None], ids=str)
def test_only_the_images_that_are_wanted_are_encoded(wanted: set[int] | None) -> None:
    source = ArraySource({"class 0": blobs(np.random.default_rng(0), center=0.5, count=7)})
    codec = Counting()
    models = dataclasses.replace(gaussian_models(), codec=codec)
    events = list(image_latents(0, source, models, fit="crop", stage="encode", images=wanted))
    found = dict(event for event in events if not isinstance(event, Progress))
    expected = np.concatenate(list(encoded(0, source, gaussian_models(), fit="crop")))
    assert sorted(found) == sorted(range(7) if wanted is None else wanted)
    assert codec.count == len(found)
    for image, latent in found.items():
        np.testing.assert_array_equal(latent, expected[image])
    steps = [event for event in events if isinstance(event, Progress)]
    assert (steps[-1].done, steps[-1].total) == (7, 7), "every image is read, encoded or not"
