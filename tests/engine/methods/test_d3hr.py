from __future__ import annotations

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from limbeck.arrays import Latents, Times
from limbeck.diffusion.base import Condition
from limbeck.diffusion.samplers import ddim, finish
from limbeck.errors import ConfigError, DataError
from limbeck.methods.base import DistilledImages, Progress
from limbeck.methods.d3hr import D3HR
from limbeck.methods.shared.class_statistics import COPIES
from limbeck.randomness import generator
from support.models import gaussian_models
from support.sources import ArraySource, blobs


@pytest.fixture
def source() -> ArraySource:
    rng = np.random.default_rng(0)
    return ArraySource({f"class {i}": blobs(rng, center=0.3 + 0.2 * i, count=24) for i in range(2)})


def latents_of(method: D3HR, source: ArraySource, *, bucket: int = 4) -> dict[int, Latents]:
    """The latents of the distilled images: the codec of `gaussian_models` loses nothing between them."""
    # a spread at which DDIM's error in 50 strides up and down is small: 98 % of it comes back
    models = gaussian_models(bucket=bucket, std=0.6)
    made = method.distill(method.units(source), source, models)
    return {e.unit.index: models.codec.encode(e.images) for e in made if isinstance(e, DistilledImages)}


def real_latents(source: ArraySource, class_id: int) -> Latents:
    images = next(source.images(class_id, size=16, fit="crop", batch=100))
    return gaussian_models().codec.encode(images)


def test_exact_groups_have_the_mean_and_spread_of_the_class_in_every_element(source: ArraySource) -> None:
    """The closed-form denoiser makes the walks linear maps of the latents, which keep both statistics."""
    made = latents_of(D3HR(ipc=8, guidance_scale=1.0, select="exact", num_steps=200), source)[0]
    real = real_latents(source, 0)
    assert made.mean(axis=0) == pytest.approx(real.mean(axis=0), abs=0.03)
    assert made.std(axis=0, ddof=1) == pytest.approx(real.std(axis=0, ddof=1), rel=0.2)


def test_a_walk_up_and_down_with_noise_that_does_not_depend_on_the_latent_is_the_identity() -> None:
    class Constant:
        def __call__(self, latents: Latents, times: Times, condition: Condition) -> Latents:
            return np.full_like(latents, 0.3)

    models = replace(gaussian_models(), denoiser=Constant())
    method = D3HR(ipc=1, guidance_scale=1.0)
    up, down = method._times_up(models), method.times(models)
    latents = np.random.default_rng(0).standard_normal((2, 3, 4, 4), dtype=np.float32)
    condition = models.conditioning.of_classes(["class 0"] * 2)

    def walked(start: Latents, walk: Times) -> Latents:
        return finish(start, ddim(models.denoiser, start, condition, schedule=models.schedule, times=walk))

    # the walk down ends one stride lower, at the clean latent; on the grid of the walk up it is the way back
    assert walked(walked(latents, up), down[:-1]) == pytest.approx(latents, abs=1e-5)


def test_the_walk_up_of_the_paper_ends_at_time_600_and_the_codes_walk_down_starts_at_620() -> None:
    models = gaussian_models()
    method = D3HR.faithful(ipc=10)
    up, down = method._times_up(models), method.times(models)
    assert (up[0], up[-1], len(up)) == (0, 600, 31)
    assert (down[0], len(down) - 1) == (620, 32)


def test_the_faithful_preset_has_the_releases_numbers() -> None:
    method = D3HR.faithful(ipc=10)
    assert (method.num_steps, method.inversion_strength, method.denoise_strength) == (50, 0.62, 0.64)
    assert (method.guidance_scale, method.guided_channels, method.num_groups) == (4.0, None, 1_000_000)
    assert (method.mean_weight, method.std_weight, method.skew_weight) == (1.0, 1.0, 0.1)
    assert (method.skew, method.select) == ("features", "group")
    assert (method.sample_posterior, method.fit) == (True, "crop")


def test_the_same_images_come_from_any_scratch_size(source: ArraySource) -> None:
    small = D3HR(ipc=3, num_groups=20, num_steps=10, scratch_bytes=3 * 48 * 36)
    large = replace(small, scratch_bytes=2**24)
    assert np.array_equal(latents_of(small, source)[0], latents_of(large, source)[0])


def test_it_can_be_stopped_within_the_draw(source: ArraySource, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []

    def counted(seed: int, class_name: str, index: int, use: str) -> np.random.Generator:
        drawn.append(index)
        return generator(seed, class_name, index, use)

    monkeypatch.setattr("limbeck.methods.d3hr.generator", counted)
    # five groups at a time, of a number that would take hours
    method = D3HR(ipc=3, num_groups=10**9, num_steps=10, scratch_bytes=5 * 3 * 48 * 36)
    events = method.distill(method.units(source), source, gaussian_models())
    seen = [event for event in islice((e for e in events if isinstance(e, Progress)), 100) if "draw" in event.stage]
    events.close()  # type: ignore[attr-defined]
    assert [event.done for event in seen] == list(range(5, 5 * len(seen) + 1, 5))
    assert len(drawn) == 5 * len(seen) > 0


@pytest.mark.parametrize("select", ["group", "exact"])
def test_one_image_per_class_is_finite(source: ArraySource, select: str) -> None:
    made = latents_of(D3HR(ipc=1, num_groups=5, num_steps=10, select=select), source)  # type: ignore[arg-type]
    assert all(np.isfinite(latents).all() for latents in made.values())


def test_every_step_up_counts_and_every_image_is_carried_up_once(source: ArraySource) -> None:
    method, models = D3HR(ipc=2, num_groups=2, num_steps=10), gaussian_models(bucket=10)
    parts = list(method.inverted(0, source, models))
    steps = [part for part in parts if isinstance(part, Progress)]
    assert [step.done for step in steps] == list(range(1, 3 * 5 + 1))
    assert {step.total for step in steps} == {3 * 5}
    assert sum(len(part) for part in parts if not isinstance(part, Progress)) == 24


def test_only_the_guided_channels_depend_on_the_guidance(source: ArraySource) -> None:
    """The closed-form denoiser mixes no channels."""
    plain, first_two = (
        latents_of(D3HR(ipc=2, num_groups=1, num_steps=10, guidance_scale=scale, guided_channels=2), source)[0]
        for scale in (1.0, 1.5)
    )
    assert np.array_equal(plain[:, 2], first_two[:, 2])
    assert not np.isclose(plain[:, :2], first_two[:, :2]).any()


@pytest.mark.parametrize("field", ["mean_weight", "std_weight", "skew_weight"])
def test_a_negative_weight_is_refused_at_once(field: str) -> None:
    with pytest.raises(ConfigError, match=f"{field} must be at least 0, got -1"):
        D3HR(ipc=1, **{field: -1.0})  # type: ignore[arg-type]


def test_a_class_with_one_image_is_refused_since_a_spread_needs_two() -> None:
    one = ArraySource({"class 0": blobs(np.random.default_rng(0), center=0.5, count=1)})
    with pytest.raises(DataError, match="a spread needs two"):
        D3HR(ipc=1).check(one, gaussian_models())


def test_a_scratch_too_small_for_a_group_search_is_enough_for_an_exact_group(source: ArraySource) -> None:
    models = gaussian_models()
    exact = D3HR(ipc=8, select="exact", scratch_bytes=8 * 48 * 30)
    exact.check(source, models)
    kept = COPIES * 2 * 2 * 48 * 8  # mean and spread of two classes, which lie with the set
    assert exact.work(source, models).scratch_nbytes - kept <= exact.scratch_bytes
    with pytest.raises(ConfigError, match="raise it, or set select=exact"):
        replace(exact, select="group").check(source, models)


def test_a_scratch_too_small_for_an_exact_group_is_refused_with_what_it_needs(source: ArraySource) -> None:
    with pytest.raises(ConfigError, match=r"of 2 latents exact takes 3,840 bytes; scratch_bytes allows 100: raise it$"):
        D3HR(ipc=2, select="exact", scratch_bytes=100).check(source, gaussian_models())


def test_a_walk_without_a_step_is_refused(source: ArraySource) -> None:
    with pytest.raises(ConfigError, match="no step at all"):
        D3HR(ipc=1, num_steps=1, inversion_strength=0.5).check(source, gaussian_models())
