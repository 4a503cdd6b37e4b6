"""The trained model on disk, on a network of a few thousand weights."""

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from diffusers import AutoencoderTiny  # noqa: E402
from tools.mini.codec import LATENT_CHANNELS, LatentScale  # noqa: E402
from tools.mini.dit import NUM_CLASSES, DiTShape, build_dit  # noqa: E402
from tools.mini.folder import ModelFolder  # noqa: E402

pytestmark = pytest.mark.torch


def test_a_folder_keeps_the_names_of_its_classes(tmp_path: Path) -> None:
    names = tuple(f"kind {number}" for number in range(NUM_CLASSES))
    ModelFolder(
        transformer=build_dit(DiTShape(heads=1, head_dim=8, depth=1, side=2)),
        codec=AutoencoderTiny(latent_channels=LATENT_CHANNELS),
        scale=LatentScale(latents_mean=(0.0,) * LATENT_CHANNELS, latents_std=(1.0,) * LATENT_CHANNELS),
        class_names=names,
    ).write(tmp_path / "model")
    assert ModelFolder.read(tmp_path / "model").class_names == names
