"""Fashion-MNIST as limbeck's methods will see it: 64 px, three channels, named classes."""

from pathlib import Path

import torch
from benchmarks.study_data import fashion_mnist
from tools.mini.images import LabeledImages

from limbeck.data.source import open_source

SIDE = 64
"""Height and width that mini's codec and denoiser work at; the images have 28."""


def read_part(file: Path, work: Path, part: str) -> tuple[LabeledImages, tuple[str, ...]]:
    """The images of "train" or "test" of an npz archive, and the names of their classes.

    Args:
        file: With x_train, y_train, x_test and y_test.
        work: Where a copy with class names goes.
        part: Which.
    """
    data = fashion_mnist(file, work)
    source = open_source(getattr(data, part))
    images, labels = [], []
    for class_id in range(len(source.class_names)):
        for batch in source.images(class_id, size=SIDE, fit="crop", batch=256):
            images.append(torch.from_numpy(batch) * 2 - 1)
            labels += [class_id] * len(batch)
    return LabeledImages(images=torch.cat(images), labels=torch.tensor(labels)), tuple(source.class_names)
