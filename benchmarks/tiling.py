"""How far a codec on tiles is from the same codec on the whole image, and whether seams show.

    python benchmarks/tiling.py PACK --tile 16

Images are decoded from unit normal latents and encoded again. Differences are in parts of the spread (standard
deviation) of the whole result. A seam would be a jump: the mean absolute difference of neighboring rows, or columns,
over that of the whole image at the same place, is given for its worst place.
"""

from __future__ import annotations

import argparse
import json

import numpy as np

from limbeck.arrays import Array
from limbeck.backends.onnxruntime import OnnxRuntime
from limbeck.diffusion.codec import PackCodec
from limbeck.memory.residency import Residency
from limbeck.pack import Pack


def compared(whole: Array, tiles: Array) -> dict[str, float]:
    """Largest and mean difference, and the worst jump."""
    difference, spread = np.abs(whole - tiles), float(whole.std())
    jumps = [
        np.abs(np.diff(tiles, axis=axis)).mean(axis=others) / np.abs(np.diff(whole, axis=axis)).mean(axis=others)
        for axis, others in ((2, (0, 1, 3)), (3, (0, 1, 2)))
    ]
    return {
        "largest": float(difference.max()) / spread,
        "mean": float(difference.mean()) / spread,
        "worst_jump": float(max(jump.max() for jump in jumps)),
    }


def main() -> None:
    """Print the comparison for a pack."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pack")
    parser.add_argument("--tile", type=int, default=16, help="in latents")
    parser.add_argument("--images", type=int, default=1)
    arguments = parser.parse_args()
    pack = Pack.open(arguments.pack)
    info, size = pack.manifest.codec, pack.manifest.image_size
    if info is None or size is None:
        parser.error(f"{arguments.pack} has no codec")
    side = size // info.downsample
    shape = (arguments.images, info.latent_channels, side, side)
    latents = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    graphs = {role: pack.graph(role) for role in ("encoder", "decoder")}
    with Residency(graphs, OnnxRuntime()) as engines:
        codecs = [
            PackCodec(info, engines["encoder"], engines["decoder"], bucket=1, tile=tile)
            for tile in (None, arguments.tile)
        ]
        images = [codec.decode(latents) for codec in codecs]
        encoded = [codec.encode(images[0]) for codec in codecs]
    print(json.dumps({"decoder": compared(*images), "encoder": compared(*encoded)}, indent=2))


if __name__ == "__main__":
    main()
