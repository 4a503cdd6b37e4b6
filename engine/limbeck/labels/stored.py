"""Soft labels on disk: what a teacher said of each image in each epoch, and under which augmentation.

Shen and Xing, "A Fast Knowledge Distillation Framework for Visual Recognition", ECCV 2022 (FKD), as SRe2L uses it: a
student is later shown exactly the images that the teacher saw, so the order, the crops, the flips and the CutMix
boxes are stored beside the logits. The labels know which images they are for: the file carries the digest of the
distilled set's pixels, and labels of other images, or of the same in another order, are refused. (Labels that are not
aligned with their images train to chance, and nothing says why.)

One `.npz`, no pickles; logits in float16 at temperature 1. A million logits take 2 MB.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from limbeck.durable import disk_errors_explained, write_whole
from limbeck.errors import DataError
from limbeck.labels.cutmix import Mix
from limbeck.labels.pixels import Pixels
from limbeck.labels.views import Views

FORMAT = 1
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, KeyError, OSError)


@dataclass(frozen=True, kw_only=True)
class StoredLabels:
    """Soft labels of every image in every epoch.

    Args:
        order: Shape (epochs, images): the rows of the set in the order in which an epoch shows them.
        boxes: Shape (epochs, images, 4), in that order: crops as top, left, height, width.
        flips: Shape (epochs, images).
        partners: Shape (epochs, images): the row *within its batch* from which an image gets its box.
        mix_boxes: Shape (epochs, batches, 4): the box of each batch as top, left, bottom, right.
        logits: Shape (epochs, images, classes), of the mixed images, float16, at temperature 1.
        batch_size: Images of a batch; the last of an epoch may be smaller.
        image_size: Height and width of the images that were shown.
        seed: What the augmentations were drawn with.
        teacher: Its key.
        images_digest: `Pixels.digest` of the images.
    """

    order: NDArray[np.int32]
    boxes: NDArray[np.int16]
    flips: NDArray[np.bool_]
    partners: NDArray[np.int32]
    mix_boxes: NDArray[np.int16]
    logits: NDArray[np.float16]
    batch_size: int
    image_size: int
    seed: int
    teacher: str
    images_digest: str

    @property
    def num_epochs(self) -> int:
        """Epochs that are labeled."""
        return len(self.order)

    def batches(self, epoch: int) -> Iterator[tuple[NDArray[np.int32], Views, Mix, NDArray[np.float16]]]:
        """The rows, views, mix and logits of each batch of an epoch, 0..num_epochs - 1."""
        for number, start in enumerate(range(0, self.order.shape[1], self.batch_size)):
            part = slice(start, start + self.batch_size)
            top, left, bottom, right = (int(edge) for edge in self.mix_boxes[epoch, number])
            mix = Mix(self.partners[epoch, part].astype(np.int64), (top, left, bottom, right))
            views = Views(self.boxes[epoch, part], self.flips[epoch, part])
            yield self.order[epoch, part], views, mix, self.logits[epoch, part]

    def refuse_others(self, pixels: Pixels) -> None:
        """Refuse images that these labels are not for.

        Raises:
            DataError: Another size, or other pixels, labels or classes.
        """
        if pixels.size != self.image_size:
            raise DataError(
                f"the stored labels are for images of {self.image_size} px, these have {pixels.size}; "
                f"evaluate with --image-size {self.image_size}, or label them anew"
            )
        if pixels.digest() != self.images_digest:
            raise DataError(
                "the stored labels are for other images, or for these in another order, and would train to chance; "
                "label this set anew"
            )


def write_labels(path: str | Path, labels: StoredLabels) -> None:
    """Write soft labels; the bytes depend on the labels alone.

    Raises:
        OutputError: The disk refuses.
    """
    path = Path(path)
    head = {
        "format": FORMAT,
        "batch_size": labels.batch_size,
        "image_size": labels.image_size,
        "seed": labels.seed,
        "teacher": labels.teacher,
        "images_digest": labels.images_digest,
    }
    stream = io.BytesIO()
    arrays = {name: getattr(labels, name) for name in _ARRAYS}
    np.savez_compressed(stream, head=np.asarray(json.dumps(head)), **arrays)
    with disk_errors_explained(path.parent, stream.tell()):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, stream.getvalue())


def read_labels(path: str | Path) -> StoredLabels:
    """Read what `write_labels` wrote.

    Raises:
        DataError: Nothing is there, it is damaged, or of another format.
    """
    try:
        # a path would be left open by numpy where the archive is damaged
        with Path(path).open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            head = json.loads(str(archive["head"]))
            if head.pop("format") != FORMAT:
                raise DataError(f"{path} has soft labels of another format than {FORMAT}; label the set anew")
            return StoredLabels(**{name: archive[name] for name in _ARRAYS}, **head)
    except _DAMAGED as error:
        raise DataError(f"{path} holds no soft labels or is damaged; give a file that protocol fkd has made") from error


_ARRAYS = ("order", "boxes", "flips", "partners", "mix_boxes", "logits")
