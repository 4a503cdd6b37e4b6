"""The trained model on disk: a local diffusers folder that an exporter reads.

    OUT/model_index.json                    pipeline class DiTPipeline
    OUT/transformer/                        the denoiser
    OUT/scheduler/scheduler_config.json     DDIM over DiT's linear betas
    OUT/vae/                                TAESD3 as AutoencoderTiny
    OUT/latents.json                        per-channel mean and standard deviation of raw latents

`DiTPipeline` itself knows one scaling factor, not one a channel: it would hand standardized latents to
the codec. Readers of this folder apply `latents.json` between the two.
"""

import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from diffusers import AutoencoderTiny, DDIMScheduler, DiTTransformer2DModel
from tools.mini.codec import LatentScale
from tools.mini.diffusion import FIRST_BETA, LAST_BETA, NUM_TIMES

DIGITS = tuple(str(digit) for digit in range(10))
SCALE_FILE = "latents.json"


@dataclass(frozen=True, kw_only=True)
class ModelFolder:
    """What the folder holds.

    Args:
        transformer: The denoiser, every block with its own (equal) embedder.
        codec: Images in [-1, 1] to raw latents and back.
        scale: Raw latents to the denoiser's and back.
        class_names: In the order of the denoiser's class ids.
    """

    transformer: DiTTransformer2DModel
    codec: AutoencoderTiny
    scale: LatentScale
    class_names: tuple[str, ...] = DIGITS

    @classmethod
    def read(cls, path: Path) -> Self:
        """Everything in evaluation mode, without gradients."""
        if not (path / "model_index.json").is_file():
            raise FileNotFoundError(f"{path} has no model_index.json; expected a folder that tools.mini.train wrote")
        names: Mapping[str, str] = json.loads((path / "model_index.json").read_text())["id2label"]
        transformer = DiTTransformer2DModel.from_pretrained(path / "transformer", low_cpu_mem_usage=False)
        codec = AutoencoderTiny.from_pretrained(path / "vae", low_cpu_mem_usage=False)
        return cls(
            transformer=transformer.eval().requires_grad_(False),
            codec=codec.eval().requires_grad_(False),
            scale=LatentScale.read(path / SCALE_FILE),
            class_names=tuple(names[str(class_id)] for class_id in range(len(names))),
        )

    def write(self, path: Path) -> None:
        """Write or renew the folder; a reader finds every file either old or new, never half written."""
        with renewed(path, _index(self.class_names)) as fresh:
            self.transformer.save_pretrained(fresh / "transformer")
            self.codec.save_pretrained(fresh / "vae")
            self.scale.write(fresh / SCALE_FILE)


@contextmanager
def renewed(path: Path, index: Mapping[str, object]) -> Iterator[Path]:
    """A fresh folder to fill, with scheduler and `index` in it; its files then replace those of `path` one by one."""
    path.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as temporary:
        fresh = Path(temporary)
        yield fresh
        ddim_scheduler().save_pretrained(fresh / "scheduler")
        (fresh / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
        for file in sorted(fresh.rglob("*")):
            if file.is_file():
                target = path / file.relative_to(fresh)
                target.parent.mkdir(exist_ok=True)
                os.replace(file, target)


def ddim_scheduler() -> DDIMScheduler:
    """DiT's schedule for DDIM sampling; latents are not pixels, so predictions are not clipped."""
    return DDIMScheduler(
        num_train_timesteps=NUM_TIMES,
        beta_start=FIRST_BETA,
        beta_end=LAST_BETA,
        beta_schedule="linear",
        clip_sample=False,
        set_alpha_to_one=True,
        prediction_type="epsilon",
    )


def _index(class_names: Sequence[str]) -> dict[str, object]:
    return {
        "_class_name": "DiTPipeline",
        "scheduler": ["diffusers", "DDIMScheduler"],
        "transformer": ["diffusers", "DiTTransformer2DModel"],
        "vae": ["diffusers", "AutoencoderTiny"],
        "id2label": {str(class_id): name for class_id, name in enumerate(class_names)},
    }
