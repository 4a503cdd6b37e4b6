"""DIVER against its formula, closed forms and plain DDIM."""

from __future__ import annotations

import dataclasses
import tracemalloc
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from limbeck.arrays import Images, Latents, Times
from limbeck.data.normalization import Normalization
from limbeck.data.source import open_source
from limbeck.diffusion.base import Condition
from limbeck.diffusion.guidance import Guided
from limbeck.diffusion.samplers import ddim, finish
from limbeck.errors import ConfigError, DataError
from limbeck.methods.base import DistilledImages
from limbeck.methods.diver import DIVER
from limbeck.methods.shared.generation import Start
from limbeck.models import Models
from limbeck.randomness import generator
from support.gaussian import GaussianDenoiser
from support.models import gaussian_models
from support.sources import ArraySource, BlockCodec, blobs

CLASSES = ["class 0", "class 1"]
LEVELS_50 = np.round(np.linspace(0, 999, 50)).astype(int)


class Unclipped(BlockCodec):
    """Decodes to latents as they are, repeated, so that nothing is lost to the pixels' range."""

    def decode(self, latents: Latents) -> Images:
        return (latents / 4 + 0.5).astype(np.float32).repeat(4, axis=2).repeat(4, axis=3)


class Learned:
    """A denoiser whose interpolation between the two variances differs from element to element."""

    def __init__(self, inner: GaussianDenoiser) -> None:
        self.inner = inner

    def __call__(self, latents: Latents, times: Times, condition: Condition) -> Latents:
        return self.inner(latents, times, condition)

    def with_variance(self, latents: Latents, times: Times, condition: Condition) -> tuple[Latents, Latents]:
        noise, interpolation = self.inner.with_variance(latents, times, condition)
        return noise, 0.1 * interpolation + 0.9 * np.tanh(latents)


@pytest.fixture
def source() -> ArraySource:
    rng = np.random.default_rng(1)
    return ArraySource({name: blobs(rng, center=0.3 + 0.4 * i, count=2) for i, name in enumerate(CLASSES)})


def models(**settings: object) -> Models:
    return dataclasses.replace(gaussian_models(**settings), codec=Unclipped())


def made(method: DIVER, source: ArraySource, networks: Models) -> Latents:
    """The latents that were decoded, of all images."""
    method.check(source, networks)
    events = method.distill(method.units(source), source, networks)
    return BlockCodec().encode(np.concatenate([event.images for event in events if isinstance(event, DistilledImages)]))


def encoded(source: ArraySource) -> Latents:
    return np.concatenate([BlockCodec().encode(next(source.images(i, size=16, fit="crop", batch=9))) for i in (0, 1)])


def noise(seed: int = 0) -> Latents:
    return np.stack(
        [
            generator(seed, name, index, "start").standard_normal((3, 4, 4), np.float32)
            for name in CLASSES
            for index in (0, 1)
        ]
    )


def by_the_paper(
    z0: Latents, networks: Models, *, gamma: float, target: str, sigma: str = "posterior", top: int = 49
) -> Latents:
    """z_{t-1} = DDIM(z_t) - gamma sigma_t (z_t - z0), or with the predicted clean latent, at t = 40..25.

    sigma_t^2 is the step's posterior variance, or lies where the network says between that and its beta, on a
    logarithmic scale (Nichol & Dhariwal 2021, eq. 15): -1 is the one, 1 the other.
    """
    levels = networks.schedule.alpha_bars[LEVELS_50]
    guided = Guided(networks.denoiser, networks.conditioning, scale=4.0)
    condition = networks.conditioning.of_classes([CLASSES[0]] * 2 + [CLASSES[1]] * 2)
    z = np.sqrt(levels[25]) * z0 + np.sqrt(1 - levels[25]) * noise()
    for t in range(top, -1, -1):
        a_t, a_s = levels[t], levels[t - 1] if t else 1.0
        times = np.full(4, LEVELS_50[t])
        predicted = guided(z.astype(np.float32), times, condition)
        clean = (z - np.sqrt(1 - a_t) * predicted) / np.sqrt(a_t)
        beta = 1 - a_t / a_s
        posterior = (1 - a_s) / (1 - a_t) * beta
        share = 0.0
        if sigma == "learned" and t:
            share = (networks.denoiser.with_variance(z.astype(np.float32), times, condition)[1] + 1) / 2
        sigma_t = np.sqrt(posterior ** (1 - share) * beta**share)
        held = z if target == "zt" else clean
        z = np.sqrt(a_s) * clean + np.sqrt(1 - a_s) * predicted
        if 25 <= t <= 40:
            z = z - gamma * sigma_t * (held - z0)
    return z


@pytest.mark.parametrize("sigma", ["posterior", "learned"])
@pytest.mark.parametrize("target", ["zt", "x0hat"])
def test_it_is_the_papers_loop(source: ArraySource, target: str, sigma: str) -> None:
    # of classes as wide as this, the refinement does not wash away what the guidance did
    networks = models(std=2.0)
    networks = dataclasses.replace(networks, denoiser=Learned(networks.denoiser))  # type: ignore[arg-type]
    cases = {
        case: by_the_paper(encoded(source), networks, gamma=0.5, target=case[0], sigma=case[1])
        for case in product(("zt", "x0hat"), ("posterior", "learned"))
    }
    ours = made(DIVER(ipc=2, gamma=0.5, target=target, sigma=sigma), source, networks)  # type: ignore[arg-type]
    np.testing.assert_allclose(ours, cases.pop((target, sigma)), atol=2e-4)
    assert all(np.abs(ours - other).max() > 5e-3 for other in cases.values())


def test_without_guidance_and_noised_to_the_top_it_is_nearly_plain_sampling_from_noise(source: ArraySource) -> None:
    networks = models()
    guided = Guided(networks.denoiser, networks.conditioning, scale=4.0)
    condition = networks.conditioning.of_classes([CLASSES[0]] * 2 + [CLASSES[1]] * 2)
    times = networks.schedule.timesteps(50, spacing="respaced")
    plain = finish(noise(), ddim(guided, noise(), condition, schedule=networks.schedule, times=times))
    ours = made(DIVER(ipc=2, gamma=0.0, noise_level=49), source, networks)
    np.testing.assert_allclose(ours, plain, atol=0.01)


def test_guidance_outside_the_walked_levels_changes_nothing(source: ArraySource) -> None:
    short = DIVER(ipc=2, noise_level=20, reverse_start=25)
    free = made(dataclasses.replace(short, gamma=0.0), source, models())
    np.testing.assert_array_equal(made(short, source, models()), free)


def test_a_denoiser_that_knows_the_input_gives_it_back() -> None:
    """With the true noise of z0 at every time, the walk ends in z0, guided or not."""
    source = ArraySource({"class 1": np.full((2, 3, 16, 16), 0.7, np.float32)})
    sure = models(means=(-1.0, 0.8, 1.0), std=1e-3)
    ours = made(DIVER(ipc=2, guidance_scale=1.0), source, sure)
    np.testing.assert_allclose(ours, 0.8, atol=0.02)


def test_a_stronger_pull_ends_nearer_to_the_input(source: ArraySource) -> None:
    distances = [
        np.abs(made(DIVER(ipc=2, gamma=gamma), source, models()) - encoded(source)).mean() for gamma in (0, 0.2, 1.0)
    ]
    assert distances == sorted(distances, reverse=True)


def test_the_vae_arm_is_a_round_trip_of_the_codec(source: ArraySource) -> None:
    np.testing.assert_allclose(made(DIVER(ipc=2, arm="vae"), source, models()), encoded(source), atol=1e-6)


def test_the_sdedit_arm_is_ddim_from_the_noised_latent_at_its_own_level(source: ArraySource) -> None:
    networks = models()
    expected = by_the_paper(encoded(source), networks, gamma=0.0, target="zt", top=25)
    np.testing.assert_allclose(made(DIVER(ipc=2, arm="sdedit"), source, networks), expected, atol=2e-4)


def test_every_image_names_the_one_that_it_was_made_of(source: ArraySource) -> None:
    method = DIVER(ipc=2, num_steps=4, noise_level=2, reverse_start=4, window=(1, 2))
    events = method.distill(method.units(source), source, models())
    rows = [row["source"] for event in events if isinstance(event, DistilledImages) for row in event.rows]
    assert rows == ["class 0/0", "class 0/1", "class 1/0", "class 1/1"]


def test_the_memory_of_a_walk_does_not_grow_with_its_steps() -> None:
    source = ArraySource({"class 0": np.random.default_rng(0).random((32, 3, 16, 16)).astype(np.float32)})
    networks = models(bucket=32)
    peaks = []
    for num_steps in (20, 120):
        method = DIVER(ipc=32, num_steps=num_steps, noise_level=10, reverse_start=num_steps, window=(5, 9))
        made(method, source, networks)
        tracemalloc.start()
        made(method, source, networks)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    latents_nbytes = 32 * 3 * 4 * 4 * 4
    assert peaks[1] - peaks[0] < 100 * latents_nbytes / 4, "no step's latents are kept"


def test_tiles_of_a_mosaic_are_carried_alone() -> None:
    mosaics = np.random.default_rng(0).random((1, 3, 32, 32)).astype(np.float32)
    other = mosaics.copy()
    other[..., 16:, 16:] = 0.5
    method = DIVER(ipc=1, tiles_per_side=2, num_steps=4, noise_level=1, reverse_start=3, window=(1, 2))
    first, second = (
        next(
            event.images[0]
            for event in method.distill(method.units(source), source, gaussian_models())
            if isinstance(event, DistilledImages)
        )
        for source in (ArraySource({"class 0": mosaics}), ArraySource({"class 0": other}))
    )
    assert first.shape == (3, 16, 16)
    # scaling down mixes the pixels at the seam
    same = np.isclose(first, second).all(axis=0)
    assert same[:7].all()
    assert same[:, :7].all()
    assert not same[9:, 9:].all()


@pytest.mark.parametrize("stored", [128, 100, 63])
def test_a_tile_of_a_stored_mosaic_knows_nothing_of_its_neighbors(tmp_path: Path, stored: int) -> None:
    """However the mosaic has to be resized: its tiles are cut out before."""
    pixels = np.random.default_rng(0).integers(0, 256, (stored, stored, 3), np.uint8)
    other = pixels.copy()
    middle = round(stored / 2)
    other[middle:, middle:] = 255 - other[middle:, middle:]
    encoded = []
    for name, mosaic in (("one", pixels), ("other", other)):
        (tmp_path / name / "class 0").mkdir(parents=True)
        Image.fromarray(mosaic).save(tmp_path / name / "class 0" / "0.png")
        method = DIVER(ipc=1, tiles_per_side=2, arm="vae", num_steps=4, noise_level=1, reverse_start=3, window=(1, 2))
        source = open_source(tmp_path / name)
        starts = method.starts(method.units(source), source, gaussian_models())
        encoded.append([start.latent for start in starts if isinstance(start, Start)])
    assert [np.array_equal(*both) for both in zip(*encoded, strict=True)] == [True, True, True, False]


@pytest.mark.torch
def test_a_set_of_normalized_tensors_is_made_again(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    images = blobs(np.random.default_rng(0), center=0.5, count=4)
    stored = (torch.from_numpy(images) - 0.485) / 0.25
    torch.save({"data": [[stored, torch.tensor([1, 0, 1, 0])]]}, tmp_path / "set.pt")
    normalization = Normalization.parse("0.485,0.485,0.485/0.25,0.25,0.25")
    source = open_source(tmp_path / "set.pt", normalization=normalization, class_names=["class 0", "class 1"])
    method = DIVER(ipc=2, arm="vae")
    method.check(source, gaussian_models())
    events = method.distill(method.units(source), source, gaussian_models())
    made_again = [event.images for event in events if isinstance(event, DistilledImages)]
    np.testing.assert_allclose(np.concatenate(made_again), images[[1, 3, 0, 2]], atol=1e-5)


@pytest.mark.parametrize(("count", "word"), [(1, "fewer"), (3, "more")])
def test_a_set_of_another_size_is_refused(count: int, word: str) -> None:
    source = ArraySource({"class 0": blobs(np.random.default_rng(0), center=0.5, count=count)})
    with pytest.raises(DataError, match=f"class 'class 0' has {count} images, {word} than ipc=2; diver makes every"):
        DIVER(ipc=2).check(source, gaussian_models())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"noise_level": 50}, "noise_level is a level, 0..49 of num_steps=50; got 50"),
        ({"reverse_start": 51}, "reverse_start is a number of levels, 1..50 of num_steps=50; got 51"),
        ({"window": (40, 25)}, r"window must be two rising levels.*got \(40, 25\)"),
        ({"tiles_per_side": 0}, "tiles_per_side must lie in 1..64, got 0"),
    ],
)
def test_settings_that_cannot_work_are_refused_at_once(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DIVER(ipc=2, **settings)  # type: ignore[arg-type]


def test_a_learned_spread_that_the_network_lacks_is_refused_by_the_check(source: ArraySource) -> None:
    networks = dataclasses.replace(gaussian_models(), denoiser=lambda latents, times, condition: latents)
    with pytest.raises(ConfigError, match="needs a denoiser with learned sigma"):
        DIVER(ipc=2, sigma="learned").check(source, networks)


def test_the_faithful_preset_has_the_papers_numbers() -> None:
    method = DIVER.faithful(ipc=10)
    numbers = (method.num_steps, method.noise_level, method.reverse_start, method.window, method.gamma)
    assert numbers == (50, 25, 50, (25, 40), 0.1)
    assert (method.guidance_scale, method.guided_channels) == (4.0, 3)
    assert (method.target, method.sample_posterior) == ("zt", True)
