"""Build the shipped pack from the trained model and the backbone's weights.

    python -m tools.mini.build --model OUT --backbone efficientnet_lite0.fp16.safetensors

The same export that `limbeck export` runs, with what the manifest should say of origins and licenses. Weights are
stored as float16; the limit of 25 MB in all is checked here.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from tools.mini.folder import SCALE_FILE

from limbeck.export.pack import ExportOptions, export_pack

LIMIT_NBYTES = 25 * 10**6
FEATURES_BLOCK = 2
"""Of the DiT's four: pooled over a photo, its maps tell digits apart best (docs/experiments.md)."""

LICENSES = {
    "denoiser": "Apache-2.0 (limbeck, trained on Sign Language Digits)",
    "codec": "MIT (TAESD3, Ollin Boer Bohan)",
    "backbone": "Apache-2.0 (EfficientNet-Lite0, ML Illustrated and the TensorFlow authors)",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Export, check the size, and print what each graph takes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="the folder that tools.mini.train wrote")
    parser.add_argument("--backbone", type=Path, required=True, help="EfficientNet-Lite0 as safetensors")
    parser.add_argument("--pack", type=Path, default=Path("engine/limbeck/packs/mini"))
    options = parser.parse_args(arguments)
    manifest = export_pack(
        [str(options.model), f"efficientnet-lite0:{options.backbone}"],
        options.pack,
        name="mini",
        options=ExportOptions(
            weights="float16",
            latent_stats=options.model / SCALE_FILE,
            licenses=LICENSES,
            features=FEATURES_BLOCK,
            gradient=True,
        ),
    )
    for role, graph in manifest.graphs.items():
        print(f"{role:<12} {manifest.files[graph.file].nbytes:>12,} bytes  off by {graph.parity:.1e} from torch")
    total = sum(file.nbytes for file in manifest.files.values())
    print(f"{'all':<12} {total:>12,} bytes")
    if total > LIMIT_NBYTES:
        raise SystemExit(f"the pack has {total:,} bytes, the limit is {LIMIT_NBYTES:,}: train a smaller denoiser")


if __name__ == "__main__":
    main()
