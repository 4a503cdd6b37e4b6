"""The training script of the mini-text pack, on a network of a few thousand weights."""

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("transformers")

from tools.mini.codec import LATENT_CHANNELS, LatentScale  # noqa: E402
from tools.mini.dit import NULL_CLASS  # noqa: E402
from tools.mini_text.train import CaptionedLatents, TextTrainConfig, TextTrainer  # noqa: E402
from tools.mini_text.unet import STATES, UnetShape  # noqa: E402

pytestmark = pytest.mark.torch

CONFIG = TextTrainConfig(shape=UnetShape(width=32, heads=2, side=2), steps=6, batch=3, warmup=2)


@pytest.fixture(scope="module")
def latents():
    random = torch.Generator().manual_seed(0)
    shape = (5, LATENT_CHANNELS, 2, 2)
    return CaptionedLatents(
        train=torch.randn(shape, generator=random),
        labels=torch.arange(5),
        held_out=torch.zeros(0, *shape[1:]),
        held_out_labels=torch.zeros(0, dtype=torch.long),
        scale=LatentScale(latents_mean=(0.0,) * LATENT_CHANNELS, latents_std=(1.0,) * LATENT_CHANNELS),
        states=torch.randn(NULL_CLASS + 1, 4, STATES, generator=random).half(),
    )


def trained(latents, steps):
    trainer = TextTrainer(CONFIG, latents, torch.device("cpu"))
    for _ in range(steps):
        trainer.train_step()
    return trainer


def weights_of(trainer):
    return torch.cat([weight.flatten() for weight in [*trainer.model.parameters(), *trainer.average.parameters()]])


def test_a_resumed_run_ends_with_the_same_bits(latents, tmp_path):
    straight = trained(latents, 4)
    trained(latents, 2).save(tmp_path / "checkpoint.pt")
    resumed = TextTrainer(CONFIG, latents, torch.device("cpu"))
    resumed.load(tmp_path / "checkpoint.pt")
    for _ in range(2):
        resumed.train_step()
    torch.testing.assert_close(weights_of(resumed), weights_of(straight), rtol=0, atol=0)


def test_saved_latents_are_read_back_as_they_were(latents, tmp_path):
    latents.save(tmp_path / "latents.pt")
    found = CaptionedLatents.load(tmp_path / "latents.pt")
    torch.testing.assert_close(found.states, latents.states, rtol=0, atol=0)
    assert found.scale == latents.scale
