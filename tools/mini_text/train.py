"""Train the pack's denoiser on captions of the training split of Sign Language Digits.

    python -m tools.mini_text.train --minilm FOLDER --encoder ENCODER.safetensors --decoder DECODER.safetensors \
        --out OUT --work WORK

Images, schedule, optimizer and checkpoints are those of `tools.mini.train`. What differs: the network, its condition
(token states of a caption; the empty prompt where a label is dropped), and the loss, the noise error alone.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import torch
from diffusers import AutoencoderTiny, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from tools.mini.codec import LatentScale, encode, load_taesd3
from tools.mini.diffusion import NUM_TIMES, Diffusion
from tools.mini.dit import NULL_CLASS, unique_parameters
from tools.mini.images import LabeledImages, moved, read_split
from tools.mini.train import Latents, TrainConfig, Trainer
from tools.mini_text.captions import captions
from tools.mini_text.folder import TextModelFolder
from tools.mini_text.text import TextNetwork
from tools.mini_text.unet import UnetShape, build_unet
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class TextTrainConfig(TrainConfig):
    """As the DiT's, with the UNet's shape; `label_dropout` is the share of empty prompts."""

    shape: UnetShape = field(default_factory=UnetShape)


@dataclass(frozen=True, kw_only=True)
class CaptionedLatents(Latents):
    """Latents whose label is the row of their caption's states.

    Args:
        states: Token states of every different caption, shape (captions, 32, 384), float16. Row `NULL_CLASS` is the
            empty prompt's.
    """

    states: Tensor

    @classmethod
    def load(cls, path: Path) -> Self:
        """What `save` wrote."""
        values = torch.load(path, weights_only=True)
        return cls(**values | {"scale": LatentScale(**values["scale"])})


def encode_training_pairs(
    split: LabeledImages, codec: AutoencoderTiny, text: TextNetwork, config: TextTrainConfig
) -> CaptionedLatents:
    """Encode every copy and its own caption once; the scale is measured on the images as they are."""
    random = torch.Generator().manual_seed(config.seed)
    raw, texts = [], []
    for version in range(config.copies):
        images = moved(split.images, random) if version else split.images
        raw.append(encode(codec, images))
        texts += captions(images, split.labels, seed=config.seed, version=version)
    different = sorted(set(texts))
    different.insert(NULL_CLASS, "")
    row_of = {text: row for row, text in enumerate(different)}
    scale = LatentScale.measured(raw[0])
    return CaptionedLatents(
        train=scale.standardize(torch.cat(raw)),
        labels=torch.tensor([row_of[text] for text in texts]),
        held_out=raw[0][:0],
        held_out_labels=split.labels[:0],
        scale=scale,
        states=text.states(different),
    )


class TextTrainer(Trainer):
    """The state of one training run, whose batches are conditioned on captions."""

    def __init__(self, config: TextTrainConfig, latents: CaptionedLatents, device: torch.device) -> None:
        torch.manual_seed(config.seed)
        self.config, self.latents, self.device = config, latents, device
        self.model, self.average = build_unet(config.shape), build_unet(config.shape)
        self.average.load_state_dict(self.model.state_dict())
        # A third of a step's time on a CPU went to the backward pass of torch's fused attention.
        self.model.set_attn_processor(AttnProcessor())
        self.model.to(device).train()
        self.average.to(device).requires_grad_(False).eval()
        self.diffusion = Diffusion(device)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=0.0, weight_decay=config.weight_decay, betas=(0.9, 0.99), fused=True
        )
        # On the CPU whatever the device, so that every machine sees the same samples.
        self.generator = torch.Generator().manual_seed(config.seed + 1)
        self.step, self.seconds = 0, 0.0
        self.answer: Any = self.model

    def _losses(self, model: Any, clean: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The noise error of every sample; there is no bound, as the network predicts no variance."""
        times = torch.randint(NUM_TIMES, labels.shape, generator=generator).to(self.device)
        noise = torch.randn(clean.shape, generator=generator).to(self.device)
        clean, states = clean.to(self.device), self.latents.states[labels].to(self.device, torch.float32)
        with torch.autocast(self.device.type, torch.bfloat16):
            output = model(self.diffusion.noised(clean, noise, times), times, states).sample
        error = (output.float() - noise).square().mean(dim=(1, 2, 3))
        return error, torch.zeros_like(error)

    def averaged_model(self) -> UNet2DConditionModel:
        """A copy of the averaged weights on the CPU."""
        model = build_unet(self.config.shape)
        model.load_state_dict({name: value.cpu() for name, value in self.average.state_dict().items()})
        return model


def run(trainer: TextTrainer, folder: TextModelFolder, *, out: Path, checkpoint: Path, save_minutes: float) -> None:
    """Train to the end, printing the loss and renewing `checkpoint` and `out` every `save_minutes`."""
    saved, errors, window, window_started = time.monotonic(), 0.0, 0, time.monotonic()
    while trainer.progress < 1:
        errors, window = errors + trainer.train_step()[0], window + 1
        if window == 200 or trainer.progress >= 1:
            rate = window / (time.monotonic() - window_started)
            print(
                f"step {trainer.step} ({trainer.progress:.1%}): noise error {errors / window:.4f}, {rate:.2f} steps/s",
                flush=True,
            )
            errors, window, window_started = 0.0, 0, time.monotonic()
        if time.monotonic() - saved > 60 * save_minutes or trainer.progress >= 1:
            trainer.save(checkpoint)
            replace(folder, unet=trainer.averaged_model()).write(out)
            saved = time.monotonic()
            print(f"saved at step {trainer.step}, {trainer.seconds / 60:.1f} minutes of training", flush=True)


def parse(arguments: Sequence[str] | None) -> tuple[TextTrainConfig, argparse.Namespace]:
    """The configuration and the paths; every default is `TextTrainConfig`'s or `UnetShape`'s."""
    config, shape = TextTrainConfig(), UnetShape()
    parser = argparse.ArgumentParser(description="train the denoiser of the mini-text pack")
    parser.add_argument("--minilm", type=Path, required=True, help="folder of all-MiniLM-L6-v2")
    parser.add_argument("--encoder", type=Path, required=True, help="original TAESD3 encoder, safetensors")
    parser.add_argument("--decoder", type=Path, required=True, help="original TAESD3 decoder, safetensors")
    parser.add_argument("--data", type=Path, default=Path("examples/data/sign_digits"))
    parser.add_argument("--out", type=Path, required=True, help="diffusers folder to write")
    parser.add_argument("--work", type=Path, required=True, help="folder for the checkpoint")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--resume", action="store_true", help="continue from the checkpoint in --work")
    parser.add_argument("--encoded", action="store_true", help="use the latents and states that are in --work")
    parser.add_argument("--save-minutes", type=float, default=5.0)
    for name in ("minutes", "peak_rate", "average"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, default=getattr(config, name))
    for name in ("steps", "batch", "copies", "seed"):
        parser.add_argument(f"--{name}", type=int, default=getattr(config, name))
    for name in ("width", "heads", "layers"):
        parser.add_argument(f"--{name}", type=int, default=getattr(shape, name))
    options = parser.parse_args(arguments)
    given = {name: getattr(options, name) for name in ("width", "heads", "layers")}
    names = ("steps", "minutes", "batch", "peak_rate", "average", "copies", "seed")
    return TextTrainConfig(shape=UnetShape(**given), **{name: getattr(options, name) for name in names}), options


def main(arguments: Sequence[str] | None = None) -> None:
    """Encode the training images and their captions, then train."""
    config, options = parse(arguments)
    torch.set_num_threads(options.threads)
    available = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(available if options.device == "auto" else options.device)
    options.work.mkdir(parents=True, exist_ok=True)
    checkpoint, encoded = options.work / "checkpoint.pt", options.work / "latents.pt"
    codec = load_taesd3(options.encoder, options.decoder)
    text = TextNetwork.read(options.minilm)
    if options.resume or options.encoded:
        latents = CaptionedLatents.load(encoded)
    else:
        latents = encode_training_pairs(read_split(options.data / "train"), codec, text, config)
        latents.save(encoded)
    trainer = TextTrainer(config, latents, device)
    if options.resume:
        trainer.load(checkpoint)
    folder = TextModelFolder(unet=trainer.averaged_model(), text=text, codec=codec, scale=latents.scale)
    print(
        f"{config}\n{unique_parameters(trainer.model):,} parameters, {len(latents.labels):,} latents, "
        f"{len(latents.states):,} prompts, {device}",
        flush=True,
    )
    run(trainer, folder, out=options.out, checkpoint=checkpoint, save_minutes=options.save_minutes)


if __name__ == "__main__":
    main()
