"""What every kind of stored source shares: batches, images left out, and the description for the manifest."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from copy import copy
from itertools import chain, islice
from pathlib import Path
from typing import ClassVar, Self

import numpy as np

from limbeck.arrays import Array, Images
from limbeck.data.base import Fit
from limbeck.data.decode import MAX_PIXELS, decode_tiles
from limbeck.errors import ConfigError, DataError


class StoredSource(ABC):
    """An `ImageSource` of encoded pictures, decoded as they are asked for.

    A kind of storage says which images a class has (`stored_names`) and reads them (`stored_pictures`).

    Args:
        location: What the manifest calls the place: its base name, never a path of this machine.
        class_names: In label order.
        max_pixels: The limit on width times height of an image.
    """

    kind: ClassVar[str]

    def __init__(self, location: str, class_names: Sequence[str], *, max_pixels: int = MAX_PIXELS) -> None:
        counts = Counter(class_names)
        if again := [name for name in counts if counts[name] > 1]:
            raise DataError(
                f"{location} has {counts[again[0]]} classes called '{again[0]}'"
                + (f", and {len(again) - 1} more names that are not unique" if len(again) > 1 else "")
                + "; give every class a name of its own"
            )
        self._location = location
        self._class_names = tuple(class_names)
        self._max_pixels = max_pixels
        self._skipped: dict[str, str] = {}

    @abstractmethod
    def stored_names(self, class_id: int) -> Sequence[str]:
        """One name an image of the class; no two images of the source share a name."""

    @abstractmethod
    def stored_pictures(self, class_id: int) -> Iterator[Path | bytes | Array]:
        """What `decode` takes, one an image, in the order of `stored_names`, one held at a time."""

    @property
    def class_names(self) -> tuple[str, ...]:
        return self._class_names

    @property
    def skipped(self) -> tuple[tuple[str, str], ...]:
        """The images left out, each a name with the reason, sorted."""
        return tuple(sorted(self._skipped.items()))

    def without(self, unreadable: Sequence[tuple[str, str]]) -> Self:
        """This source with these images left out, pairs of a name and the reason.

        Raises:
            DataError: A class would have none left.
        """
        source = copy(self)
        source._skipped = {**self._skipped, **dict(unreadable)}
        source.refuse_empty_classes("every image of it is unreadable; repair them")
        return source

    def names(self, class_id: int) -> tuple[str, ...]:
        return tuple(name for name in self.stored_names(class_id) if name not in self._skipped)

    def pictures(self, class_id: int) -> Iterator[tuple[str, Path | bytes | Array]]:
        """The class's images with their names, not yet decoded."""
        for name, picture in zip(self.stored_names(class_id), self.stored_pictures(class_id), strict=True):
            if name not in self._skipped:
                yield name, picture

    def pixels(self, name: str, picture: Path | bytes | Array, *, size: int, fit: Fit) -> Images:
        """One of `pictures`, decoded: shape (3, size, size)."""
        (whole,) = self.tiles(name, picture, size=size, fit=fit, per_side=1)
        return whole

    def tiles(
        self, name: str, picture: Path | bytes | Array, *, size: int, fit: Fit, per_side: int
    ) -> Sequence[Images]:
        """One of `pictures`, decoded and cut into `per_side` by `per_side` tiles, each of shape (3, size, size)."""
        return decode_tiles(picture, name=name, size=size, fit=fit, tiles=per_side, max_pixels=self._max_pixels)

    def images(self, class_id: int, *, size: int, fit: Fit, batch: int, tiles: int = 1) -> Iterator[Images]:
        if size < 1 or batch < 1:
            raise ConfigError(f"images need a size and a batch of at least 1, got size={size}, batch={batch}")
        decoded = chain.from_iterable(
            self.tiles(*named, size=size, fit=fit, per_side=tiles) for named in self.pictures(class_id)
        )
        while group := list(islice(decoded, batch)):
            yield np.stack(group)

    def describe(self) -> dict[str, object]:
        """What the manifest records. Reads every image once, so that other content under the same names is seen.

        Raises:
            DataError: An image cannot be read.
        """
        content = hashlib.sha256()
        for class_id in range(len(self.class_names)):
            for name, picture in self.pictures(class_id):
                content.update(_digest(name, picture))
        return {**self.listing(), "content_sha256": content.hexdigest()}

    def listing(self) -> dict[str, object]:
        """The part of `describe` that names tell: no image is read."""
        listing = hashlib.sha256()
        counts = []
        for class_id, class_name in enumerate(self.class_names):
            names = self.names(class_id)
            counts.append(len(names))
            lines = "\n".join((f"{len(names)} {class_name}", *names, ""))
            listing.update(lines.encode("utf-8", "surrogateescape"))
        return {
            "kind": self.kind,
            "location": self._location,
            "class_counts": counts,
            "listing_sha256": listing.hexdigest(),
        }

    def refuse_empty_classes(self, remedy: str) -> None:
        """Raise `DataError` if a class has no image, naming the first such and saying `remedy`."""
        empty = [i for i in range(len(self.class_names)) if not self.names(i)]
        if empty:
            first = f"class '{self.class_names[empty[0]]}' (label {empty[0]}) of {self._location} has no image"
            more = f", nor have {len(empty) - 1} more of {len(self.class_names)}" if len(empty) > 1 else ""
            raise DataError(f"{first}{more}: {remedy}")


def _digest(name: str, picture: Path | bytes | Array) -> bytes:
    """SHA-256 of a picture as it is stored, not decoded."""
    if isinstance(picture, bytes):
        return hashlib.sha256(picture).digest()
    if isinstance(picture, np.ndarray):
        shape = f"{picture.dtype.str} {picture.shape} ".encode()
        return hashlib.sha256(shape + picture.tobytes()).digest()
    try:
        with picture.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").digest()
    except OSError as error:
        raise DataError(f"{name} cannot be read: {error.strerror or error}") from error
