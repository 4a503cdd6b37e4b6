"""D4M against closed forms: Gaussian classes, a codec of block means."""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np
import pytest
from sklearn.cluster import MiniBatchKMeans

from limbeck.errors import ConfigError
from limbeck.methods.base import DistilledImages, Progress
from limbeck.methods.d4m import D4M, NOT_READ
from limbeck.randomness import small_seed
from support.gaussian import Recorded
from support.models import gaussian_models
from support.sources import ArraySource, BlockCodec, blobs
from support.text_models import PromptedDenoiser, text_models


@pytest.fixture
def source() -> ArraySource:
    rng = np.random.default_rng(1)
    return ArraySource({f"class {i}": blobs(rng, center=0.3 + 0.2 * i, count=12) for i in range(3)})


def images(method: D4M, source: ArraySource, **models: object) -> list[np.ndarray]:
    events = method.distill(method.units(source), source, gaussian_models(**models))
    return [event.images for event in events if isinstance(event, DistilledImages)]


def prototypes(method: D4M, class_id: int, source: ArraySource) -> np.ndarray:
    """The k-means centers of a class: what strength 0 decodes, encoded again by a codec that is exact for them."""
    decoded = images(dataclasses.replace(method, strength=0), source)[class_id]
    return BlockCodec().encode(decoded)


def test_prototypes_of_as_many_clusters_as_images_are_the_images(source: ArraySource) -> None:
    method = D4M(ipc=12)
    real = BlockCodec().encode(next(source.images(0, size=16, fit="crop", batch=100)))
    centers = prototypes(method, 0, source)
    assert np.allclose(np.sort(centers.reshape(12, -1), axis=0), np.sort(real.reshape(12, -1), axis=0), atol=1e-6)


def test_one_prototype_is_the_mean_of_its_class_in_both_clusterings(source: ArraySource) -> None:
    mean = BlockCodec().encode(next(source.images(0, size=16, fit="crop", batch=100))).mean(axis=0)
    for clustering in ("full", "minibatch"):
        method = D4M(ipc=1, clustering=clustering, batch_factor=5)
        # 12 images in mini-batches of 5, 5 and a leftover of 2, which the official release drops
        np.testing.assert_allclose(prototypes(method, 0, source)[0], mean, atol=1e-5)


def two_kinds(*, count: int) -> ArraySource:
    """A class whose dark images come before its bright ones."""
    rng = np.random.default_rng(3)
    return ArraySource({"class 0": np.concatenate([blobs(rng, center=c, count=count) for c in (0.25, 0.75)])})


def test_a_sorted_class_does_not_start_in_its_first_images() -> None:
    """Of two kinds, the first images are of one; a start in both finds both, one in the first kind alone may not."""
    source = two_kinds(count=200)
    in_order, shuffled = (
        prototypes(D4M(ipc=8, clustering="minibatch", batch_factor=1, shuffle_buffer=buffer), 0, source)
        for buffer in (1, 1024)
    )
    bright = [int((centers.mean(axis=(1, 2, 3)) > 0.5).sum()) for centers in (in_order, shuffled)]
    assert bright[0] <= 1
    assert 3 <= bright[1] <= 5


def test_streamed_prototypes_are_the_same_however_many_latents_come_at_a_time() -> None:
    source = two_kinds(count=30)
    method = D4M(ipc=3, clustering="minibatch", batch_factor=2, shuffle_buffer=16, strength=0)
    one, some, all_at_once = (
        next(e.images for e in method.distill(method.units(source), source, models) if isinstance(e, DistilledImages))
        for models in (dataclasses.replace(gaussian_models(), codec_bucket=bucket) for bucket in (1, 7, 100))
    )
    np.testing.assert_array_equal(one, some)
    np.testing.assert_array_equal(one, all_at_once)


def test_a_buffer_of_one_keeps_the_order_of_the_source() -> None:
    source = two_kinds(count=30)
    real = BlockCodec().encode(next(source.images(0, size=16, fit="crop", batch=100))).reshape(60, -1)
    expected = MiniBatchKMeans(4, batch_size=8, n_init="auto", random_state=small_seed(0, "class 0", "k-means"))
    for first in range(0, 60, 8):
        expected.partial_fit(real[first : first + 8])
    method = D4M(ipc=4, clustering="minibatch", batch_factor=2, shuffle_buffer=1)
    np.testing.assert_allclose(prototypes(method, 0, source).reshape(4, -1), expected.cluster_centers_, atol=1e-5)


def test_a_buffer_beyond_the_scratch_memory_is_refused_with_a_way_out() -> None:
    method = D4M(ipc=1, clustering="minibatch", shuffle_buffer=50, scratch_bytes=49 * 192)
    with pytest.raises(ConfigError, match=r"50 latents at a time take 9,600 bytes(.|\n)*lower shuffle_buffer"):
        method.check(two_kinds(count=30), gaussian_models())
    dataclasses.replace(method, shuffle_buffer=49).check(two_kinds(count=30), gaussian_models())


def test_strength_1_gives_the_class_distribution_whatever_the_prototype() -> None:
    """With full noise and the exact denoiser, images are drawn from the class: its mean and spread come out."""
    rng = np.random.default_rng(2)
    source = ArraySource({"class 2": blobs(rng, center=0.2, count=64)})
    method = D4M(
        ipc=64, strength=1, num_steps=50, guidance_scale=1, sampler="ddim", clustering="minibatch", batch_factor=1
    )
    latents = BlockCodec().encode(images(method, source, bucket=64)[0])
    assert latents.mean() == pytest.approx(1.0, abs=0.03)
    assert latents.std() == pytest.approx(0.2, abs=0.03)


def test_the_prototype_shows_more_the_lower_the_strength(source: ArraySource) -> None:
    method = D4M(ipc=4, guidance_scale=1)
    centers = prototypes(method, 0, source)
    distances = [
        np.abs(BlockCodec().encode(images(dataclasses.replace(method, strength=s), source)[0]) - centers).mean()
        for s in (0.1, 0.4, 0.8)
    ]
    assert distances == sorted(distances)


def test_batches_are_filled_across_classes(source: ArraySource) -> None:
    models = gaussian_models(bucket=4)
    recorded = Recorded(models.denoiser)
    models = dataclasses.replace(models, denoiser=recorded)
    method = D4M(ipc=2, num_steps=5, strength=1, guidance_scale=1, sampler="ddim")
    list(method.distill(method.units(source), source, models))
    # 6 images: a full batch of 4 from two classes, then the last 2
    assert [len(times) for times in recorded.times] == [4] * 5 + [2] * 5


def test_condition_none_never_asks_for_a_class() -> None:
    source = ArraySource({"unheard of": blobs(np.random.default_rng(0), center=0.5, count=3)})
    method = D4M(ipc=1, condition="none", num_steps=4)
    method.check(source, gaussian_models())
    assert len(images(method, source)) == 1


def test_the_faithful_preset_makes_the_official_36_network_calls() -> None:
    source = ArraySource({"class 0": blobs(np.random.default_rng(0), center=0.5, count=4)})
    models = gaussian_models()
    recorded = Recorded(models.denoiser)
    method = D4M.faithful(ipc=2)
    list(method.distill(method.units(source), source, dataclasses.replace(models, denoiser=recorded)))
    assert len(recorded.times) == 36
    assert method.guidance_scale == 8.0


def test_the_faithful_preset_has_the_releases_numbers() -> None:
    method = D4M.faithful(ipc=10)
    assert (method.num_steps, method.strength, method.guidance_scale) == (50, 0.7, 8.0)
    assert (method.sampler, method.guidance_interval, method.guided_channels) == ("pndm-img2img", (0.0, 1.0), None)
    assert (method.clustering, method.batch_factor, method.shuffle_buffer) == ("minibatch", 1, 1024)
    assert (method.condition, method.sample_posterior, method.fit) == ("class", True, "squash")
    assert method.negative_prompt == "cartoon, anime, painting"


@pytest.mark.parametrize("condition", ["class", "none"])
def test_guidance_leads_away_from_the_negative_prompt(source: ArraySource, condition: Literal["class", "none"]) -> None:
    models = text_models(bucket=3)
    assert isinstance(models.denoiser, PromptedDenoiser)
    method = D4M(ipc=1, num_steps=5, negative_prompt="cartoon", condition=condition)
    made = [e for e in method.distill(method.units(source), source, models) if isinstance(e, DistilledImages)]
    led = tuple(source.class_names) if condition == "class" else ("",) * 3
    assert set(models.denoiser.prompts) == {(*led, *("cartoon",) * 3)}
    assert {row["negative_prompt"] for unit in made for row in unit.rows} == {"cartoon"}


def test_a_negative_prompt_that_nothing_can_read_is_left_out_and_every_row_says_so(source: ArraySource) -> None:
    plain, asked = D4M(ipc=1, num_steps=5), D4M(ipc=1, num_steps=5, negative_prompt="cartoon")
    units = [
        [e for e in method.distill(method.units(source), source, gaussian_models()) if isinstance(e, DistilledImages)]
        for method in (plain, asked)
    ]
    for one, other in zip(*units, strict=True):
        np.testing.assert_array_equal(one.images, other.images)
        assert [row.get("note") for row in one.rows] == [None]
        assert [row.get("note") for row in other.rows] == [NOT_READ]


def test_progress_is_yielded_after_every_step(source: ArraySource) -> None:
    method = D4M(ipc=1, num_steps=10, strength=0.5)
    steps = [e for e in method.distill(method.units(source)[:1], source, gaussian_models()) if isinstance(e, Progress)]
    assert [step.done for step in steps if step.stage == "denoise"] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ipc": 0}, "ipc must be at least 1, got 0"),
        ({"ipc": 1, "strength": 1.5}, r"strength must lie in 0..1, got 1.5"),
        ({"ipc": 1, "num_steps": 0}, "num_steps must be at least 1, got 0"),
    ],
)
def test_settings_that_cannot_work_are_refused_at_once(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        D4M(**settings)  # type: ignore[arg-type]


def test_latents_beyond_the_scratch_memory_are_refused_with_a_way_out(source: ArraySource) -> None:
    with pytest.raises(ConfigError, match="clustering=minibatch"):
        D4M(ipc=1, scratch_bytes=100).check(source, gaussian_models())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"guidance_scale": -1.0}, "guidance scale"),
        ({"guidance_interval": (0.9, 0.1)}, "interval"),
        ({"num_steps": 2000}, "num_steps=2000"),
        ({"num_steps": 1, "strength": 0.7}, "no step at all"),
        ({"sampler": "pndm-img2img", "strength": 1.0}, "pndm-img2img"),
    ],
)
def test_walks_and_guidance_that_cannot_be_are_refused_by_the_check(
    source: ArraySource, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        D4M(ipc=1, **settings).check(source, gaussian_models())  # type: ignore[arg-type]


def test_latents_that_are_not_finite_are_refused(source: ArraySource) -> None:
    models = gaussian_models()
    broken = dataclasses.replace(models, denoiser=lambda z, t, c: np.full_like(z, np.nan))
    method = D4M(ipc=1)
    with pytest.raises(Exception, match="not finite"):
        list(method.distill(method.units(source), source, broken))


def test_waiting_with_the_decoder_changes_no_image(source: ArraySource) -> None:
    method = D4M(ipc=2, num_steps=5)
    at_once = images(method, source)
    models = dataclasses.replace(gaussian_models(), wave=100)
    events = method.distill(method.units(source), source, models)
    waited = [event.images for event in events if isinstance(event, DistilledImages)]
    assert all(np.array_equal(*both) for both in zip(at_once, waited, strict=True))


def test_every_condition_that_a_wave_needs_is_prepared_before_it_is_denoised(source: ArraySource) -> None:
    models = gaussian_models()
    recorded = Recorded(models.denoiser)
    seen: list[tuple[set[int], int, int]] = []

    def prepare(times: np.ndarray, condition: object) -> None:
        seen.append((set(times.tolist()), len(condition), len(recorded.times)))  # type: ignore[arg-type]

    models = dataclasses.replace(models, denoiser=recorded, prepare=prepare, wave=100)
    method = D4M(ipc=2, num_steps=5)
    list(method.distill(method.units(source), source, models))
    ((times, conditions, calls_before),) = seen
    assert {int(time) for asked in recorded.times for time in asked} == times
    assert conditions == 6 + 1, "the samples' classes, and none"
    assert calls_before == 0


def test_its_work_counts_the_calls_that_it_makes(source: ArraySource) -> None:
    models = gaussian_models(bucket=4)
    recorded = Recorded(models.denoiser)
    method = D4M(ipc=2, num_steps=5, guidance_scale=1.0)
    list(method.distill(method.units(source), source, dataclasses.replace(models, denoiser=recorded)))
    assert method.work(source, models).trunk_calls(4) == len(recorded.times)
