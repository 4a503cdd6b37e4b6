"""The training script of a pack for Fashion-MNIST, on a few images and a network of a few thousand weights."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from benchmarks.study_data import FASHION  # noqa: E402
from diffusers import AutoencoderTiny  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from tools.fashion.data import SIDE, read_part  # noqa: E402
from tools.fashion.train import main  # noqa: E402
from tools.mini.codec import LATENT_CHANNELS  # noqa: E402
from tools.mini.folder import ModelFolder  # noqa: E402

pytestmark = pytest.mark.torch


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    labels = np.tile(np.arange(10)[::-1], 2)
    images = np.repeat((labels * 20).astype(np.uint8), 28 * 28).reshape(20, 28, 28)
    np.savez(tmp_path / "given.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    return tmp_path / "given.npz"


def test_images_are_read_with_their_labels_at_the_side_of_the_codec(archive: Path, tmp_path: Path) -> None:
    split, class_names = read_part(archive, tmp_path, "train")
    assert split.images.shape == (20, 3, SIDE, SIDE)
    assert class_names == FASHION
    np.testing.assert_allclose(split.images.mean((1, 2, 3)), split.labels * 20 / 127.5 - 1, atol=1e-2)


def original_files(folder: Path) -> list[Path]:
    """The codec's two files as TAESD3 names its weights, with weights at random."""
    files = []
    weights = AutoencoderTiny(latent_channels=LATENT_CHANNELS).state_dict()
    for part, offset in (("encoder", 0), ("decoder", 1)):
        named = {}
        for name, value in weights.items():
            kind, _, layer, rest = name.split(".", 3)
            if kind == part:
                named[f"{int(layer) + offset}.{rest}"] = value.contiguous()
        files.append(folder / f"{part}.safetensors")
        save_file(named, files[-1])
    return files


def test_the_trained_folder_calls_its_classes_as_the_data_does(archive: Path, tmp_path: Path) -> None:
    encoder, decoder = map(str, original_files(tmp_path))
    small = ["--heads", "1", "--head-dim", "8", "--depth", "1", "--copies", "1", "--batch", "2", "--steps", "1"]
    places = ["--data", str(archive), "--out", str(tmp_path / "model"), "--work", str(tmp_path / "work")]
    main(["--encoder", encoder, "--decoder", decoder, *places, *small, "--device", "cpu"])
    assert ModelFolder.read(tmp_path / "model").class_names == FASHION
