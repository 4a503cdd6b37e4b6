"""Build a Dockerfile without Docker: one overlay layer an instruction, RUN in a chroot.

    base folder (plays FROM) <- layer <- layer <- …      each layer is a folder that holds what one instruction changed

Needs root on Linux. RUN sees the network and this machine's own pip settings, as a build does; they lie on a tmpfs over
/run and are in no layer.
"""

from __future__ import annotations

import glob
import os
import shlex
import shutil
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from docker.dockerfile import DockerfileError, Instruction, Stage, expand

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
RUN_SECONDS = 1200

_UNSHARED = ("unshare", "--mount", "--pid", "--fork", "--kill-child")
_RUN = """set -eu
root=$1 host=$2
mount --types proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount --types tmpfs tmpfs "$root/run"
cp "$host"/* "$root/run/"
mount --bind /etc/resolv.conf "$root/etc/resolv.conf"
shift 2
exec chroot "$root" "$@"
"""


@dataclass(frozen=True)
class Layer:
    """What one instruction changed: the folder that holds it, and the instruction as written."""

    folder: Path
    made_by: str


@dataclass
class Image:
    """A stage that was built so far: the base folder, its layers from the lowest up, and its environment."""

    base: Path
    layers: list[Layer] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=lambda: {"PATH": DEFAULT_PATH})
    workdir: str = "/"
    user: str = "root"

    def copy(self) -> Image:
        """What a later stage starts from."""
        return Image(self.base, list(self.layers), dict(self.environment), self.workdir, self.user)

    @property
    def folders(self) -> list[Path]:
        """What is laid over each other, the lowest first."""
        return [self.base, *(layer.folder for layer in self.layers)]


@contextmanager
def mounted(folders: list[Path], at: Path, *, upper: Path | None = None) -> Iterator[Path]:
    """`folders`, the lowest first, laid over each other at `at`; read-only, unless changes go to `upper`.

    Read-only takes two folders at least, says overlay.
    """
    at.mkdir(parents=True, exist_ok=True)
    options = "lowerdir=" + ":".join(str(folder) for folder in reversed(folders))
    if upper is not None:
        work = upper.with_name(upper.name + ".work")
        for folder in (upper, work):
            folder.mkdir(parents=True)
        options += f",upperdir={upper},workdir={work}"
    subprocess.run(["mount", "--types", "overlay", "--options", options, "overlay", str(at)], check=True)
    try:
        yield at
    finally:
        subprocess.run(["umount", str(at)], check=True)


class Builder:
    """Builds the stages of one Dockerfile into `scratch`, from the build context's folder."""

    def __init__(self, scratch: Path, context: Path, base: Path) -> None:
        """`base` is a root file system that plays every image which FROM names; it is not changed."""
        self.scratch = scratch
        self.context = context
        self.base = base
        self.images: dict[str, Image] = {}
        self._host = _host_settings(scratch / "host")
        self._count = 0

    def build(self, stages: tuple[Stage, ...]) -> Image:
        """Build all stages in order.

        Returns:
            The last one.

        Raises:
            DockerfileError: A RUN stands behind a USER.
            subprocess.CalledProcessError: A RUN ended with an error; its output was shown.
        """
        for stage in stages:
            known = self.images.get(stage.base)
            image = known.copy() if known else Image(self.base)
            for instruction in stage.instructions:
                self._apply(image, instruction)
            self.images[stage.name] = image
        return self.images[stages[-1].name]

    def _apply(self, image: Image, instruction: Instruction) -> None:
        match instruction.keyword:
            case "ENV":
                for name, value in instruction.pairs.items():
                    image.environment[name] = expand(value, image.environment)
            case "RUN":
                self._run(image, instruction)
            case "COPY":
                self._copy(image, instruction)
            case "USER":
                image.user = instruction.text
            case "WORKDIR":
                image.workdir = instruction.text
                with self._changing(image, f"WORKDIR {instruction.text}") as root:
                    _inside(root, instruction.text).mkdir(parents=True, exist_ok=True)

    @contextmanager
    def _changing(self, image: Image, made_by: str) -> Iterator[Path]:
        self._count += 1
        upper = self.scratch / "layers" / str(self._count)
        with mounted(image.folders, self.scratch / "root", upper=upper) as root:
            yield root
        image.layers.append(Layer(upper, made_by))

    def _run(self, image: Image, instruction: Instruction) -> None:
        if image.user != "root":
            raise DockerfileError(
                f"RUN {instruction.text}: only root's are carried out here, not those of {image.user}"
            )
        inner = f"cd {shlex.quote(image.workdir)} && {instruction.text}"
        environment = {**image.environment, **_pip_settings(), "HOME": "/root", "DEBIAN_FRONTEND": "noninteractive"}
        with self._changing(image, f"RUN {instruction.text}") as root:
            subprocess.run(
                [*_UNSHARED, "sh", "-c", _RUN, "run", str(root), str(self._host), "/bin/sh", "-c", inner],
                env=environment,
                check=True,
                timeout=RUN_SECONDS,
            )

    def _copy(self, image: Image, instruction: Instruction) -> None:
        *sources, target = instruction.words
        origin = instruction.flags.get("from")
        with self._source(origin) as source_root, self._changing(image, f"COPY {instruction.text}") as root:
            goal = _inside(root, os.path.join(image.workdir, target))
            for pattern in sources:
                found = glob.glob(str(_inside(source_root, pattern)))
                if not found:
                    raise FileNotFoundError(f"COPY {pattern}: there is no such file in {origin or 'the build context'}")
                for one in found:
                    _copy_one(Path(one), goal, into=target.endswith("/") or len(sources) > 1)

    @contextmanager
    def _source(self, origin: str | None) -> Iterator[Path]:
        if origin is None:
            yield self.context
        else:
            with mounted(self.images[origin].folders, self.scratch / "from") as root:
                yield root


def nbytes(folder: Path) -> int:
    """The bytes of all regular files below a folder, a hard link counted once."""
    seen: dict[tuple[int, int], int] = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            status = os.lstat(os.path.join(parent, name))
            if stat.S_ISREG(status.st_mode):
                seen[status.st_dev, status.st_ino] = status.st_size
    return sum(seen.values())


def _inside(root: Path, path: str) -> Path:
    return root / path.lstrip("/")


def _copy_one(source: Path, goal: Path, *, into: bool) -> None:
    """As COPY does: a folder gives its content, a file itself."""
    if source.is_dir():
        subprocess.run(["mkdir", "--parents", str(goal)], check=True)
        subprocess.run(["cp", "--archive", f"{source}/.", str(goal)], check=True)
    else:
        target = goal / source.name if into else goal
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)


def _host_settings(folder: Path) -> Path:
    """Copies of the files that pip needs on this machine; a file that is not there is left out."""
    folder.mkdir(parents=True)
    (folder / "settings").touch()
    for source, name in ((os.environ.get("PIP_CERT"), "ca.crt"), ("/etc/pip.conf", "pip.conf")):
        if source and Path(source).exists():
            shutil.copyfile(source, folder / name)
    return folder


def _pip_settings() -> dict[str, str]:
    settings = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    if "PIP_CERT" in settings:
        settings["PIP_CERT"] = "/run/ca.crt"
    if Path("/etc/pip.conf").exists():
        settings["PIP_CONFIG_FILE"] = "/run/pip.conf"
    return settings
