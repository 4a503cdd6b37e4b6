"""The images of one job on this machine's disk, in the order in which they were finished.

job.json                  how many there will be
images.jsonl              a line an image; what is not a whole line yet is not there
images/00000001.png       its file
end.json                  there are no more, and why, if the job did not succeed
lock                      held by the one process that adds to it; others only read
"""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from limbeck.durable import disk_errors_explained, write_synced, write_whole
from limbeck.errors import DataError
from limbeck_server.client.sets import DistilledImage


@dataclass(frozen=True)
class CachedImage:
    """An image of the cache; the words are those of `DistilledImage`."""

    number: int
    label: int
    class_name: str
    position: int
    sha256: str


@dataclass(frozen=True)
class End:
    """There are no more images. `message` says why, if the job did not succeed; else it is ""."""

    message: str


class ImageCache:
    """A folder with the images of one job."""

    def __init__(self, folder: Path) -> None:
        """Make it if it is not there."""
        self.folder = folder
        with disk_errors_explained(folder.parent, needed_nbytes=0):
            (folder / "images").mkdir(parents=True, exist_ok=True)

    @property
    def lock(self) -> Path:
        """The file that is locked by who adds."""
        return self.folder / "lock"

    # reading

    def num_images(self) -> int | None:
        """How many images the job makes; None if that is not known yet."""
        found = self._json("job.json")
        return None if found is None else int(found["num_images"])

    def end(self) -> End | None:
        """Whether there are no more images to come."""
        found = self._json("end.json")
        return None if found is None else End(found["message"])

    def listed(self, offset: int = 0) -> tuple[list[CachedImage], int]:
        """The images whose lines begin at a byte of the list or after, and where the next will begin."""
        try:
            with (self.folder / "images.jsonl").open("rb") as lines:
                lines.seek(offset)
                new = lines.read()
        except FileNotFoundError:
            return [], offset
        whole = new[: new.rfind(b"\n") + 1]
        return [CachedImage(**json.loads(line)) for line in whole.splitlines()], offset + len(whole)

    def open(self, image: CachedImage) -> Image.Image:
        """Its pixels, RGB.

        Raises:
            DataError: The file was changed or is gone.
        """
        try:
            content = self._path(image.number).read_bytes()
        except OSError as error:
            raise DataError(f"{self._path(image.number)} cannot be read: {error.strerror or error}") from error
        if hashlib.sha256(content).hexdigest() != image.sha256:
            raise DataError(f"{self._path(image.number)} is damaged; remove {self.folder} to have it fetched again")
        return Image.open(io.BytesIO(content)).convert("RGB")

    # adding, by the holder of the lock only

    def repair(self) -> int:
        """Drop what a killed process or a power cut left half; the number of the last image that is whole."""
        path = self.folder / "images.jsonl"
        images, end = self.listed()
        kept = next((n for n, image in enumerate(images) if not self._is_whole(image)), len(images))
        if path.exists() and (kept < len(images) or end < path.stat().st_size):
            write_whole(path, b"".join(map(_line, images[:kept])))
        return kept

    def begin(self, num_images: int) -> None:
        """Say how many images there will be."""
        self._say("job.json", {"num_images": num_images})

    def add(self, image: DistilledImage) -> None:
        """Add the next image."""
        entry = CachedImage(image.number, image.label, image.class_name, image.position, image.sha256)
        with disk_errors_explained(self.folder, len(image.png)):
            write_synced(self._path(image.number), image.png)
            with (self.folder / "images.jsonl").open("ab") as lines:
                lines.write(_line(entry))

    def finish(self, message: str = "") -> None:
        """Say that there are no more."""
        self._say("end.json", {"message": message})

    def _is_whole(self, image: CachedImage) -> bool:
        path = self._path(image.number)
        return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == image.sha256

    def _path(self, number: int) -> Path:
        return self.folder / "images" / f"{number:08d}.png"

    def _json(self, name: str) -> Any:
        try:
            return json.loads((self.folder / name).read_bytes())
        except FileNotFoundError:
            return None

    def _say(self, name: str, value: object) -> None:
        with disk_errors_explained(self.folder, needed_nbytes=0):
            write_whole(self.folder / name, json.dumps(value).encode())


def _line(image: CachedImage) -> bytes:
    return json.dumps(asdict(image)).encode() + b"\n"
