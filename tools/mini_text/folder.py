"""The trained model on disk: a local diffusers folder that an exporter reads.

    OUT/model_index.json                    pipeline class StableDiffusionPipeline, with a BERT for its CLIP
    OUT/unet/                               the denoiser
    OUT/text_encoder/, OUT/tokenizer/       MiniLM-L6, its matrices rounded to int8 values
    OUT/scheduler/scheduler_config.json     DDIM over DiT's linear betas
    OUT/vae/                                TAESD3 as AutoencoderTiny
    OUT/latents.json                        per-channel mean and standard deviation of raw latents

As with `tools.mini.folder`, whoever reads this applies `latents.json` between denoiser and codec.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from diffusers import AutoencoderTiny, UNet2DConditionModel
from tools.mini.codec import LatentScale
from tools.mini.folder import SCALE_FILE, renewed
from tools.mini_text.text import TextNetwork

INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "scheduler": ["diffusers", "DDIMScheduler"],
    "text_encoder": ["transformers", "BertModel"],
    "tokenizer": ["transformers", "BertTokenizerFast"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderTiny"],
}


@dataclass(frozen=True, kw_only=True)
class TextModelFolder:
    """What the folder holds.

    Args:
        unet: The denoiser.
        text: The text tower and its tokenizer.
        codec: Images in [-1, 1] to raw latents and back.
        scale: Raw latents to the denoiser's and back.
    """

    unet: UNet2DConditionModel
    text: TextNetwork
    codec: AutoencoderTiny
    scale: LatentScale

    @classmethod
    def read(cls, path: Path) -> Self:
        """Everything in evaluation mode, without gradients."""
        if not (path / "model_index.json").is_file():
            raise FileNotFoundError(f"{path} has no model_index.json; expected a folder of tools.mini_text.train")
        unet = UNet2DConditionModel.from_pretrained(path / "unet", low_cpu_mem_usage=False)
        codec = AutoencoderTiny.from_pretrained(path / "vae", low_cpu_mem_usage=False)
        return cls(
            unet=unet.eval().requires_grad_(False),
            text=TextNetwork.read(path / "text_encoder", path / "tokenizer"),
            codec=codec.eval().requires_grad_(False),
            scale=LatentScale.read(path / SCALE_FILE),
        )

    def write(self, path: Path) -> None:
        """Write or renew the folder; a reader finds every file either old or new, never half written."""
        with renewed(path, INDEX) as fresh:
            self.unet.save_pretrained(fresh / "unet")
            self.text.model.save_pretrained(fresh / "text_encoder")
            self.text.tokenizer.save_pretrained(fresh / "tokenizer")
            self.codec.save_pretrained(fresh / "vae")
            self.scale.write(fresh / SCALE_FILE)
