"""The settings of an export."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from limbeck.errors import ConfigError
from limbeck.pack import NAME

# Protobuf refuses a message of 2 GiB; the nodes of the largest graph so far take 3 MiB of what is left free here.
PROTOBUF_SAFE_NBYTES = 2**31 - 64 * 2**20

# A runtime maps weights that lie beside the graph from the disk, and tools read them one at a time; weights inside the
# graph are parsed, and so held, all at once.
EXTERNAL_ABOVE_NBYTES = 64 * 2**20


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """How networks become a pack.

    Args:
        weights: The dtype of stored weights. "float16" halves the files: weights are rounded to it and cast back
            when an engine loads them, so the arithmetic stays float32.
        external_above_nbytes: Weights of a graph that together exceed this lie in a second file beside it.
        classes: A file of class names in id order, one a line, where the source does not name them.
        latent_stats: A JSON file with the lists `latents_mean` and `latents_std`, one figure a channel of raw
            latents, that replaces what the codec's config says.
        prompt: Makes a class name the prompt of a text-conditional UNet.
        null_prompt: Of such a UNet, the prompt that guidance leads away from.
        licenses: License of each part that the pack holds: "denoiser", "codec", "backbone".
        text_int8: Store the matrices of a text encoder as int8 values with one scale a row, a fourth of float32's
            bytes, whatever `weights` says; they are rounded to that, and the arithmetic stays float32.
        gradient: Write the backbone's gradient graphs beside it; its weights then lie in a file that all share.
        features: The block of the denoiser whose maps the role `features` gives (`add_features`); None writes none. The
            trunk's weights then lie in a file that both share.
        random_init: Leave out the download of timm weights; for tests and for timing.
    """

    weights: Literal["float32", "float16"] = "float32"
    external_above_nbytes: int = EXTERNAL_ABOVE_NBYTES
    classes: Path | None = None
    latent_stats: Path | None = None
    prompt: str = NAME
    null_prompt: str = ""
    licenses: Mapping[str, str] = field(default_factory=dict)
    text_int8: bool = False
    gradient: bool = False
    features: int | None = None
    random_init: bool = False

    def __post_init__(self) -> None:
        """Reject what could only fail when the file is written."""
        if self.weights not in ("float32", "float16"):
            raise ConfigError(f"weights='{self.weights}' cannot be stored; choose float32 or float16")
        if not 0 <= self.external_above_nbytes <= PROTOBUF_SAFE_NBYTES:
            raise ConfigError(
                f"external_above_nbytes={self.external_above_nbytes} must lie in 0..{PROTOBUF_SAFE_NBYTES}, "
                "as an ONNX file cannot reach 2 GiB"
            )
