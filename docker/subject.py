"""The image that `docker.prove` tries, and how a container of it is started."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from docker.container import Container, running
from docker.dockerfile import Stage
from docker.layers import Image

PHOTOS = "/photos"


class Failed(Exception):
    """A statement does not hold; the text says what was found instead."""


@dataclass(frozen=True)
class Volumes:
    """Folders of this machine that outlive a container: one for each VOLUME, and what else is mounted read-only."""

    folder: Path
    written: tuple[str, ...]
    read: Mapping[str, Path] = field(default_factory=dict)

    def outside(self, inside: str) -> Path:
        """Where a volume lies on this machine."""
        return self.folder / inside.lstrip("/")

    @property
    def mounts(self) -> dict[str, tuple[Path, str]]:
        """As `running` wants them."""
        written = {inside: (self.outside(inside), "rw") for inside in self.written}
        return written | {inside: (outside, "ro") for inside, outside in self.read.items()}


@dataclass(frozen=True)
class Subject:
    """The image under test: its last stage, its layers, a scratch folder and the repository."""

    stage: Stage
    image: Image
    scratch: Path
    context: Path

    @property
    def entrypoint(self) -> list[str]:
        """As ENTRYPOINT says."""
        return self.stage.last("ENTRYPOINT").words

    @property
    def user(self) -> str:
        """As USER says: `uid:gid`."""
        return self.stage.last("USER").text

    @contextmanager
    def volumes(self) -> Iterator[Volumes]:
        """Empty volumes that belong to the image's user, with the example photos beside them, read-only."""
        photos = self.context / "examples/data/sign_digits/train"
        with tempfile.TemporaryDirectory(dir=self.scratch) as folder:
            os.chmod(folder, 0o755)
            made = Volumes(Path(folder), tuple(self.stage.last("VOLUME").words), {PHOTOS: photos})
            for inside in made.written:
                made.outside(inside).mkdir()
                self.give(made.outside(inside))
            yield made

    def give(self, path: Path) -> None:
        """Let the image's user own a file or folder."""
        uid, gid = (int(number) for number in self.user.split(":"))
        os.chown(path, uid, gid)

    @contextmanager
    def run(self, command: list[str], volumes: Volumes) -> Iterator[tuple[Container, Path]]:
        """A container that runs `command`; gives it and the file that takes its output."""
        # an engine takes HOME from the user's line in /etc/passwd
        image = replace(self.image, environment={**self.image.environment, "HOME": "/data"})
        output = volumes.folder / "output"
        with (
            output.open("wb") as stream,
            running(
                image, command, user=self.user, volumes=volumes.mounts, scratch=self.scratch, output=stream
            ) as container,
        ):
            yield container, output

    def idle(self, command: list[str]) -> str:
        """The output of `command` in a container whose first process only waits.

        Raises:
            Failed: It ended with an error.
        """
        with self.volumes() as volumes, self.run(["tini", "--", "sleep", "infinity"], volumes) as (container, _):
            done = container.execute(command)
        if done.returncode != 0:
            raise Failed(f"{command[0]} ended with {done.returncode}: {done.stdout}")
        return done.stdout
