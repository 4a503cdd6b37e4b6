"""Ask the exported pack for clothes; a classifier that was trained on real images reads them.

    python -m tools.fashion.pack_quality --data FASHION.npz --pack PACK --work WORK

Prints and writes the share of images that the judge reads as the class that was asked for, and of real test images.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from tools.fashion.data import read_part
from tools.mini.classifier import fit_classifier, hits
from tools.mini.pack_quality import GUIDANCE_SCALES, SEED, WALKS, agreement

EPOCHS = 3
"""Of the judge; there are six times as many images as sign digits."""

DEFAULT_WALK, DEFAULT_SCALE = WALKS[0], GUIDANCE_SCALES[0]


def main(arguments: Sequence[str] | None = None) -> None:
    """Train the judge, then measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="an npz with x_train, y_train, x_test, y_test")
    parser.add_argument("--pack", required=True)
    parser.add_argument("--work", type=Path, required=True, help="where a copy with class names goes")
    parser.add_argument("--json", type=Path, default=Path("tools/fashion/pack_quality.json"))
    options = parser.parse_args(arguments)
    train, class_names = read_part(options.data, options.work, "train")
    test, _ = read_part(options.data, options.work, "test")
    judge = fit_classifier(train, seed=SEED, epochs=EPOCHS)
    real = hits(judge, test.images, test.labels).float().mean().item()
    print(f"real test images: {real:.1%}", flush=True)
    drawn = agreement(judge, options.pack, class_names, walks=[DEFAULT_WALK], scales=[DEFAULT_SCALE])
    found = {"real_test": real} | drawn
    options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
