"""The set in the making: how it grows, and that its gradient is that of what is seen of it."""

import numpy as np
import pytest

from limbeck.errors import ConfigError
from limbeck.methods.sfm import SFM
from limbeck.methods.shared.pixel_set import Pixels

NAMES = ("one", "two")


def grown(*, until, **settings):
    pixels = Pixels.begin(SFM(ipc=2, extend_every=10, **settings), NAMES, 12)
    for number in range(until):
        pixels.extend_if_due(number)
        pixels.move([np.ones_like(level) for level in pixels.levels], 1.0)
    return pixels


def sides(pixels):
    return [level.shape[-1] for level in pixels.levels]


@pytest.mark.parametrize(
    ("until", "expected"), [(11, [1]), (12, [2, 1]), (22, [4, 2, 1]), (42, [12, 8, 4, 2, 1]), (99, [12, 8, 4, 2, 1])]
)
def test_a_level_of_twice_the_side_comes_every_so_many_steps_up_to_the_whole(until, expected):
    assert sides(grown(until=until)) == expected


def test_the_release_reaches_256_pixels_at_step_1601():
    pixels = Pixels.begin(SFM.faithful(ipc=1), NAMES[:1], 256)
    reached = {}
    for number in range(1702):
        pixels.extend_if_due(number)
        reached.setdefault(pixels.levels[0].shape[-1], number)
    assert reached == {1: 0, **{2**i: 200 * i + 1 for i in range(1, 9)}}


def test_a_new_level_scales_the_others_down_and_begins_adam_anew():
    pixels = grown(until=11)
    before = pixels.levels[0]
    pixels.extend_if_due(11)
    np.testing.assert_array_equal(pixels.levels[1], before * np.float32(0.5))
    assert [moments.steps for moments in pixels.moments] == [0, 0]
    assert pixels.levels[0].std() == pytest.approx(0.5, abs=0.2)


def test_plain_pixels_have_one_level():
    assert sides(grown(until=30, first_side=12)) == [12]


def test_an_image_begins_the_same_whatever_other_classes_there_are():
    settings = SFM(ipc=2)
    alone, together = Pixels.begin(settings, NAMES[1:], 12), Pixels.begin(settings, NAMES, 12)
    np.testing.assert_array_equal(alone.levels[0], together.levels[0][2:])


def test_the_gradient_of_views_reaches_every_level():
    """Against differences, in the direction of a random change of every level."""
    pixels = grown(until=45, augs_per_batch=2)
    rng, chunk = np.random.default_rng(0), slice(1, 3)
    slope = rng.standard_normal((4, 3, 9, 9), dtype=np.float32)

    def seen():
        images = pixels.images(chunk)
        return (*pixels.views(images, chunk, 7, 9), images)

    _, parts, images = seen()
    gradient = pixels.pulled(slope, parts, images)
    directions = [rng.standard_normal(level.shape, dtype=np.float32) for level in pixels.levels]
    expected = sum(float((g * d[chunk]).sum()) for g, d in zip(gradient, directions, strict=True))
    start, values = list(pixels.levels), []
    for step in (0.01, -0.01):
        pixels.levels = [level + np.float32(step) * d for level, d in zip(start, directions, strict=True)]
        values.append(float((seen()[0].astype(np.float64) * slope).sum()))
    assert (values[0] - values[1]) / 0.02 == pytest.approx(expected, rel=1e-3)


def test_views_do_not_depend_on_the_chunk():
    pixels = grown(until=5, augs_per_batch=2)
    whole, _ = pixels.views(pixels.images(slice(0, 4)), slice(0, 4), 3, 8)
    part, _ = pixels.views(pixels.images(slice(2, 4)), slice(2, 4), 3, 8)
    np.testing.assert_array_equal(whole[4:], part)


def test_noise_has_the_mean_and_spread_that_were_asked_on_half_of_the_views():
    settings = SFM.faithful(ipc=1)
    gray = np.full((200, 3, 8, 8), 0.25, np.float32)
    whole = {"crop_scale": (1.0, 1.0), "crop_ratio": (1.0, 1.0)}
    views, _ = SFM(ipc=1, noise_mean=settings.noise_mean, **whole).view(gray, ["a"] * 200, range(200), "test", 8)
    noisy = views[np.abs(views - 0.25).max(axis=(1, 2, 3)) > 1e-6]
    assert len(noisy) == pytest.approx(100, abs=20)
    assert noisy.mean() == pytest.approx(0.75, abs=0.01)
    assert noisy.std() == pytest.approx(0.2, abs=0.01)


def test_views_are_mirrored_as_often_as_asked_and_nothing_else_changes():
    whole = {"crop_scale": (1.0, 1.0), "crop_ratio": (1.0, 1.0)}
    images = np.random.default_rng(0).random((50, 3, 8, 8), dtype=np.float32)
    plain, mirrored = (
        SFM(ipc=1, flip_probability=p, **whole).view(images, ["a"] * 50, range(50), "test", 8)[0] for p in (0.0, 1.0)
    )
    quiet = np.abs(plain - images).max(axis=(1, 2, 3)) < 1e-6  # half of them have noise, which is not mirrored
    assert 10 < quiet.sum() < 40
    np.testing.assert_allclose(mirrored[quiet], images[quiet, :, :, ::-1], atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_steps": 0}, "num_steps must be at least 1, got 0"),
        ({"central_part": 0.0}, "central_part must be above 0 and at most 1"),
        ({"crop_scale": (0.5, 0.1)}, "must rise inside 0..1"),
        ({"flip_probability": 1.5}, "flip_probability must lie in 0..1, got 1.5"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        SFM(ipc=1, **settings)
