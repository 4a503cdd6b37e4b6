"""Train a denoiser on Fashion-MNIST, as `tools.mini.train` does on the sign digits, with the same codec.

    python -m tools.fashion.train --data FASHION.npz --encoder ENCODER.safetensors --decoder DECODER.safetensors \
        --copies 1 --minutes 40 --steps 100000 --out OUT --work WORK
"""

from collections.abc import Sequence

from tools.fashion.data import read_part
from tools.mini.train import parse, train_on


def main(arguments: Sequence[str] | None = None) -> None:
    """Encode the training images, then train."""
    config, options = parse(arguments, description="train a denoiser of Fashion-MNIST", data=None)
    split, class_names = read_part(options.data, options.work, "train")
    train_on(split, class_names, config, options)


if __name__ == "__main__":
    main()
