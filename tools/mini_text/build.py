"""Build the shipped pack from the trained model and the backbone's weights.

    python -m tools.mini_text.build --model OUT --backbone efficientnet_lite0.fp16.safetensors

The same export that `limbeck export` runs, with what the manifest should say of origins and licenses. Weights are
stored as float16, MiniLM's matrices as int8; the limit of 45 MB in all is checked here.
"""

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

from tools.mini.build import LICENSES
from tools.mini.folder import SCALE_FILE
from tools.mini_text.captions import PROMPT

from limbeck.export.pack import ExportOptions, export_pack

LIMIT_NBYTES = 45 * 10**6
FEATURES_LAYER = 0
"""Of the two of the only up block; the last has no features to take."""
TEXT_LICENSE = "Apache-2.0 (all-MiniLM-L6-v2, sentence-transformers and Microsoft; weights rounded to int8)"


def main(arguments: Sequence[str] | None = None) -> None:
    """Export, check the size, and print what each graph takes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="the folder that tools.mini_text.train wrote")
    parser.add_argument("--backbone", type=Path, required=True, help="EfficientNet-Lite0 as safetensors")
    parser.add_argument("--pack", type=Path, default=Path("engine/limbeck/packs/mini-text"))
    options = parser.parse_args(arguments)
    fresh = options.pack.with_name(f".{options.pack.name}.new")
    manifest = export_pack(
        [str(options.model), f"efficientnet-lite0:{options.backbone}"],
        fresh,
        name=options.pack.name,
        options=ExportOptions(
            weights="float16",
            text_int8=True,
            latent_stats=options.model / SCALE_FILE,
            prompt=PROMPT,
            features=FEATURES_LAYER,
            licenses={**LICENSES, "text_encoder": TEXT_LICENSE},
        ),
    )
    for role, graph in manifest.graphs.items():
        print(f"{role:<12} {manifest.files[graph.file].nbytes:>12,} bytes  off by {graph.parity:.1e} from torch")
    total = sum(file.nbytes for file in manifest.files.values())
    print(f"{'all':<12} {total:>12,} bytes")
    if total > LIMIT_NBYTES:
        raise SystemExit(f"the pack has {total:,} bytes, the limit is {LIMIT_NBYTES:,}: train a smaller denoiser")
    shutil.rmtree(options.pack, ignore_errors=True)
    fresh.rename(options.pack)


if __name__ == "__main__":
    main()
