"""Direct calls, plans and jobs on `limbeck serve` itself, beside what the library gives in this process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from limbeck.backends.onnxruntime import OnnxRuntime
from limbeck.diffusion.denoiser import ClassCondition
from limbeck.errors import ConfigError
from limbeck.models import Models, open_models
from limbeck.pack import Pack
from limbeck_server.client import Client, MissingError, RequestError, StateError
from support.live_server import LiveServer
from support.uploads import pictures, write_files

PARTS = frozenset({"denoiser", "codec", "backbone", "gradient"})

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    folder = tmp_path_factory.mktemp("live")
    write_files(folder / "data" / "photos", pictures("cat", "dog", per_class=3, side=64))
    with LiveServer(folder / "root", folder / "data", message_nbytes=2**22) as server:
        yield server


@pytest.fixture
def near(live: LiveServer) -> Iterator[Client]:
    with Client(live.address) as client:
        yield client


@pytest.fixture(scope="module")
def models() -> Iterator[Models]:
    with open_models(Pack.open("mini"), OnnxRuntime(threads=1), bucket=16, needs=PARTS) as models:
        yield models


def latents(rng: np.random.Generator, rows: int = 3) -> np.ndarray:
    return rng.standard_normal((rows, 16, 8, 8)).astype(np.float32)


def test_decoding_gives_what_the_library_gives(near: Client, models: Models, rng: np.random.Generator) -> None:
    given = latents(rng)
    np.testing.assert_allclose(near.decode("mini", given), models.codec.decode(given), atol=1e-5)


def test_encoding_and_features_take_lists_and_arrays(near: Client, models: Models, rng: np.random.Generator) -> None:
    small = rng.random((2, 3, 64, 64)).astype(np.float32)
    np.testing.assert_allclose(near.encode("mini", small.tolist()), models.codec.encode(small), atol=1e-4)
    images = rng.random((2, 3, 224, 224)).astype(np.float32)
    np.testing.assert_allclose(near.features("mini", images), models.backbone.features(images), atol=1e-3)


def test_denoising_gives_what_the_library_gives(near: Client, models: Models, rng: np.random.Generator) -> None:
    given, times = latents(rng), np.array([900, 500, 10])
    expected = models.denoiser(given, times, ClassCondition(np.array([1, 2, -1])))
    np.testing.assert_allclose(near.denoise("mini", given, [900, 500, 10], class_ids=[1, 2, -1]), expected, atol=1e-4)


def test_a_gradient_comes_with_its_features(near: Client, models: Models, rng: np.random.Generator) -> None:
    images = rng.random((2, 3, 224, 224)).astype(np.float32)
    cotangent = np.ones_like(models.backbone.features(images))
    features, gradient = near.features_gradient("mini", images, cotangent)
    expected_features, expected_gradient = models.backbone.vjp(images, cotangent)
    np.testing.assert_allclose(features, expected_features, atol=1e-3)
    np.testing.assert_allclose(gradient, expected_gradient, atol=1e-3)


def test_a_condition_of_both_kinds_or_none_is_refused(near: Client, rng: np.random.Generator) -> None:
    with pytest.raises(ConfigError, match="by class_ids or by texts"):
        near.denoise("mini", latents(rng), [1, 1, 1])


def test_an_array_of_other_dimensions_is_refused_here(near: Client, rng: np.random.Generator) -> None:
    with pytest.raises(ConfigError, match=r"latents must have 4 dimensions, has 3: shape \(16, 8, 8\)"):
        near.decode("mini", latents(rng)[0])


def test_an_array_that_is_larger_than_a_message_is_refused_here(near: Client) -> None:
    with pytest.raises(ConfigError, match="send fewer rows at a time"):
        near.encode("mini", np.zeros((100, 3, 64, 64)))


def test_a_pack_that_there_is_not_is_missing(near: Client, rng: np.random.Generator) -> None:
    with pytest.raises((MissingError, RequestError), match="other"):
        near.decode("other", latents(rng))


def test_an_engine_is_loaded_and_unloaded(near: Client) -> None:
    assert near.load_engine("mini", "decoder").loaded
    assert not near.unload_engine("mini", "decoder").loaded


def test_a_plan_says_what_a_job_takes(near: Client, live: LiveServer) -> None:
    dataset = near.register_dataset(str(live.root.parent / "data" / "photos"))
    plan = near.plan("random", dataset, ipc=1)
    assert plan.peak_nbytes == sum(plan.parts.values())
    assert plan.budget_nbytes is None
    with pytest.raises(StateError, match="budget"):
        near.plan("d4m", dataset, budget_nbytes=2**20)


def test_a_job_of_the_real_server_is_fetched(near: Client, live: LiveServer, tmp_path: Path) -> None:
    dataset = near.register_dataset(str(live.root.parent / "data" / "photos"))
    job = near.wait(near.submit("random", dataset, ipc=2))
    assert near.download(job, tmp_path / "out").joinpath("manifest.json").is_file()
    assert len(list(near.images(job))) == 4
