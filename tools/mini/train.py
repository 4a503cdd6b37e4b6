"""Train the pack's denoiser on the training split of Sign Language Digits.

    python -m tools.mini.train --encoder ENCODER.safetensors --decoder DECODER.safetensors --out OUT --work WORK

WORK holds the encoded training images and the checkpoint, OUT the diffusers folder of the averaged
weights. Both are renewed every few minutes, and `--resume` continues with the same random stream.
"""

import argparse
import math
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import torch
from diffusers import AutoencoderTiny, DiTTransformer2DModel
from tools.mini.codec import LatentScale, encode, load_taesd3
from tools.mini.diffusion import NUM_TIMES, Diffusion
from tools.mini.dit import DiTShape, build_dit, drop_labels, initialize, tie_embedders, unique_parameters
from tools.mini.folder import DIGITS, ModelFolder
from tools.mini.images import LabeledImages, moved, read_split
from tools.mini.split import fit_and_validation
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything that decides the result, beside the data and the codec.

    Args:
        shape: Size of the network.
        steps: Optimizer steps; the learning rate falls to zero at the last.
        minutes: Wall-clock limit. When it binds, the learning rate falls with the clock instead of the
            steps, so the end is graceful but no longer the same on another machine.
        batch: Samples a step.
        peak_rate: Learning rate after the warm-up.
        warmup: Steps of linear warm-up.
        weight_decay: AdamW's.
        label_dropout: Share of samples trained without their class.
        average: Decay of the exponential moving average of the weights; lower at the start.
        copies: Versions of every training image, the first as it is, the others moved a little.
        seed: Fixes initial weights, augmentation, order, times and noise.
        hold_out: Train on the first four fifths and print the loss on the rest, to compare settings.
    """

    shape: DiTShape = field(default_factory=DiTShape)
    steps: int = 12_000
    minutes: float = math.inf
    batch: int = 64
    peak_rate: float = 1e-3
    warmup: int = 200
    weight_decay: float = 0.01
    label_dropout: float = 0.1
    average: float = 0.999
    copies: int = 12
    seed: int = 0
    hold_out: bool = False


@dataclass(frozen=True, kw_only=True)
class Latents:
    """Standardized latents of the training images, all copies, and of the images held out from them.

    Args:
        train: Shape (copies * count, 16, side, side).
        labels: Shape (copies * count,).
        held_out: Shape (count, 16, side, side); empty unless asked for.
        held_out_labels: Shape (count,).
        scale: What made them standard.
    """

    train: Tensor
    labels: Tensor
    held_out: Tensor
    held_out_labels: Tensor
    scale: LatentScale

    def save(self, path: Path) -> None:
        """Write them beside the checkpoint, for `load`."""
        torch.save(asdict(self), path)

    @classmethod
    def load(cls, path: Path) -> Self:
        """What `save` wrote."""
        values = torch.load(path, weights_only=True)
        return cls(**values | {"scale": LatentScale(**values["scale"])})


def encode_training_images(split: LabeledImages, codec: AutoencoderTiny, config: TrainConfig) -> Latents:
    """Encode every copy once; the scale is measured on the images as they are."""
    fit, validation = fit_and_validation(len(split.labels))
    rows, held_out = (list(fit), list(validation)) if config.hold_out else (list(range(len(split.labels))), [])
    generator = torch.Generator().manual_seed(config.seed)
    images = split.images[rows]
    raw = [encode(codec, images)]
    for _ in range(config.copies - 1):
        raw.append(encode(codec, moved(images, generator)))
    scale = LatentScale.measured(raw[0])
    # An empty part must not reach the codec.
    other = encode(codec, split.images[held_out]) if held_out else raw[0][:0]
    return Latents(
        train=scale.standardize(torch.cat(raw)),
        labels=split.labels[rows].repeat(config.copies),
        held_out=scale.standardize(other),
        held_out_labels=split.labels[held_out],
        scale=scale,
    )


class Trainer:
    """The state of one training run: weights, their average, optimizer, position and random stream."""

    def __init__(self, config: TrainConfig, latents: Latents, device: torch.device) -> None:
        torch.manual_seed(config.seed)
        self.config, self.latents, self.device = config, latents, device
        self.model, self.average = build_dit(config.shape), build_dit(config.shape)
        tie_embedders(self.model)
        tie_embedders(self.average)
        initialize(self.model)
        self.average.load_state_dict(self.model.state_dict())
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

    @property
    def progress(self) -> float:
        """Share of the run that is over, by steps or by the clock, whichever is further."""
        return min(1.0, max(self.step / self.config.steps, self.seconds / (60 * self.config.minutes)))

    def train_step(self) -> tuple[float, float]:
        """One optimizer step; returns the batch's two losses."""
        started = time.monotonic()
        config, generator = self.config, self.generator
        rows = torch.randint(len(self.latents.labels), (config.batch,), generator=generator)
        labels = drop_labels(self.latents.labels[rows], config.label_dropout, generator)
        error, bound = self._losses(self.answer, self.latents.train[rows], labels, generator)
        loss = error.mean() + bound.mean()
        loss.backward()
        warm = min(1.0, (self.step + 1) / config.warmup)
        self.optimizer.param_groups[0]["lr"] = config.peak_rate * warm * (1 + math.cos(math.pi * self.progress)) / 2
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        # The average forgets its random start within the first steps.
        keep = min(config.average, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(list(self.average.parameters()), list(self.model.parameters()), 1 - keep)
        self.seconds += time.monotonic() - started
        return float(error.detach().mean()), float(bound.detach().mean())

    def _losses(self, model: Any, clean: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        times = torch.randint(NUM_TIMES, labels.shape, generator=generator).to(self.device)
        noise = torch.randn(clean.shape, generator=generator).to(self.device)
        clean = clean.to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16):
            output = model(self.diffusion.noised(clean, noise, times), times, labels.to(self.device)).sample
        return self.diffusion.losses(output.float(), clean, noise, times)

    @torch.no_grad()
    def held_out_losses(self, rounds: int = 8) -> tuple[float, float]:
        """The averaged weights' two losses on the held-out images, always at the same times and noise."""
        generator = torch.Generator().manual_seed(0)
        clean, labels = self.latents.held_out.repeat(rounds, 1, 1, 1), self.latents.held_out_labels.repeat(rounds)
        parts = [
            self._losses(self.average, *part, generator)
            for part in zip(clean.split(256), labels.split(256), strict=True)
        ]
        errors, bounds = zip(*parts, strict=True)
        return float(torch.cat(errors).mean()), float(torch.cat(bounds).mean())

    def save(self, path: Path) -> None:
        """Write the checkpoint beside its place, then put it there."""
        temporary = path.with_suffix(".tmp")
        torch.save(
            {
                "model": self.model.state_dict(),
                "average": self.average.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "generator": self.generator.get_state(),
                "step": self.step,
                "seconds": self.seconds,
            },
            temporary,
        )
        os.replace(temporary, path)

    def load(self, path: Path) -> None:
        """Continue where `save` stopped, with the same random stream."""
        state = torch.load(path, map_location="cpu", weights_only=True)
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"])
        self.step, self.seconds = state["step"], state["seconds"]

    def averaged_model(self) -> DiTTransformer2DModel:
        """A copy of the averaged weights on the CPU, every block with an embedder of its own."""
        model = build_dit(self.config.shape)
        model.load_state_dict({name: value.cpu() for name, value in self.average.state_dict().items()})
        return model


def run(trainer: Trainer, fresh: ModelFolder, *, out: Path, checkpoint: Path, save_minutes: float) -> None:
    """Train to the end, printing the losses; every `save_minutes`, renew `checkpoint`, and `fresh` trained in `out`."""
    saved, errors, bounds = time.monotonic(), 0.0, 0.0
    window, window_started = 0, time.monotonic()
    while trainer.progress < 1:
        error, bound = trainer.train_step()
        errors, bounds, window = errors + error, bounds + bound, window + 1
        if window == 200 or trainer.progress >= 1:
            rate = window / (time.monotonic() - window_started)
            print(
                f"step {trainer.step} of {trainer.config.steps} ({trainer.progress:.1%}): "
                f"noise error {errors / window:.4f}, bound {bounds / window:.4f} bits, {rate:.2f} steps/s",
                flush=True,
            )
            errors, bounds, window, window_started = 0.0, 0.0, 0, time.monotonic()
        if time.monotonic() - saved > 60 * save_minutes or trainer.progress >= 1:
            trainer.save(checkpoint)
            replace(fresh, transformer=trainer.averaged_model()).write(out)
            saved = time.monotonic()
            print(f"saved at step {trainer.step}, {trainer.seconds / 60:.1f} minutes of training", flush=True)
            if trainer.config.hold_out:
                print("held-out noise error {:.4f}, bound {:.4f} bits".format(*trainer.held_out_losses()), flush=True)


def parse(
    arguments: Sequence[str] | None, *, description: str, data: Path | None
) -> tuple[TrainConfig, argparse.Namespace]:
    """The configuration and the paths; every default is `TrainConfig`'s or `DiTShape`'s, that of `--data` is `data`."""
    config, shape = TrainConfig(), DiTShape()
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--encoder", type=Path, required=True, help="original TAESD3 encoder, safetensors")
    parser.add_argument("--decoder", type=Path, required=True, help="original TAESD3 decoder, safetensors")
    parser.add_argument("--data", type=Path, default=data, required=data is None)
    parser.add_argument("--out", type=Path, required=True, help="diffusers folder to write")
    parser.add_argument("--work", type=Path, required=True, help="folder for the checkpoint")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--resume", action="store_true", help="continue from the checkpoint in --work")
    parser.add_argument("--compile", action="store_true", help="let torch.compile fuse the network")
    parser.add_argument("--save-minutes", type=float, default=5.0)
    parser.add_argument("--hold-out", action="store_true")
    parser.add_argument("--minutes", type=float, default=config.minutes)
    parser.add_argument("--peak-rate", type=float, default=config.peak_rate)
    parser.add_argument("--average", type=float, default=config.average)
    for name in ("steps", "batch", "copies", "seed"):
        parser.add_argument(f"--{name}", type=int, default=getattr(config, name))
    for name in ("heads", "head-dim", "depth", "patch"):
        parser.add_argument(f"--{name}", type=int, default=getattr(shape, name.replace("-", "_")))
    options = parser.parse_args(arguments)
    given = {name: getattr(options, name) for name in ("heads", "head_dim", "depth", "patch")}
    names = ("steps", "minutes", "batch", "peak_rate", "average", "copies", "seed", "hold_out")
    return TrainConfig(shape=DiTShape(**given), **{name: getattr(options, name) for name in names}), options


def train_on(
    split: LabeledImages, class_names: tuple[str, ...], config: TrainConfig, options: argparse.Namespace
) -> None:
    """Encode `split`, then train; `options` are those of `parse`."""
    available = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(available if options.device == "auto" else options.device)
    options.work.mkdir(parents=True, exist_ok=True)
    checkpoint = options.work / "checkpoint.pt"
    codec = load_taesd3(options.encoder, options.decoder)
    encoded = options.work / "latents.pt"
    if options.resume:
        latents = Latents.load(encoded)
    else:
        latents = encode_training_images(split, codec.to(device), config)
        latents.save(encoded)
    trainer = Trainer(config, latents, device)
    if options.resume:
        trainer.load(checkpoint)
    if options.compile:
        trainer.answer = torch.compile(trainer.model)
    print(
        f"{config}\n{unique_parameters(trainer.model):,} parameters, {len(latents.labels):,} latents, {device}",
        flush=True,
    )
    fresh = ModelFolder(
        transformer=trainer.averaged_model(), codec=codec.cpu(), scale=latents.scale, class_names=class_names
    )
    run(trainer, fresh, out=options.out, checkpoint=checkpoint, save_minutes=options.save_minutes)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train on the sign digits."""
    data = Path("examples/data/sign_digits")
    config, options = parse(arguments, description="train the denoiser of the mini pack", data=data)
    train_on(read_split(options.data / "train"), DIGITS, config, options)


if __name__ == "__main__":
    main()
