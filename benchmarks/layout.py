"""Where a work folder keeps what: sources, the peers' files, packs. Large; never in the repository."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

OPSETS = (18, 23)
"""Of the plain exports: 18 decomposes attention, 23 has it as one operator."""


@dataclass(frozen=True)
class Layout:
    """Paths under one folder. Any of them may be a link to where the files really lie."""

    work: Path

    @property
    def shapes(self) -> Path:
        """`shapes.json`: the arguments that `benchmarks.feeds` needs for this folder's networks."""
        return self.work / "shapes.json"

    def source(self, network: str) -> Path:
        """The torch weights: `dit` and `vae` share a diffusers folder."""
        return self.work / "sources" / {"dit": "dit", "vae": "dit", "unet": "sd", "backbone": "backbone"}[network]

    def onnx(self, network: str, opset: int) -> Path:
        """The plain export."""
        return self.work / "peers" / network / f"opset{opset}" / "model.onnx"

    def ort_int8(self, network: str) -> Path:
        """What `quantize_dynamic` made of the plain export."""
        return self.work / "peers" / network / "ort-int8" / "model.onnx"

    def ov_int8(self, network: str) -> Path:
        """What `nncf.quantize` made of it."""
        return self.work / "peers" / network / "ov-int8" / "model.xml"

    @property
    def optimum(self) -> Path:
        """optimum-onnx's export of the text-to-image pipeline."""
        return self.work / "peers" / "optimum"

    def pack(self, source: str, precision: str) -> Path:
        """A limbeck pack: of source "dit", "sd" or "backbone", at "fp32", "int8" or "auto"."""
        return self.work / "packs" / f"{source}-{precision}"
