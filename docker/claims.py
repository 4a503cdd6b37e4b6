"""What `docker.prove` tries on an image, one function a statement; each says what it found or fails."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from docker.container import Container, running
from docker.dockerfile import Stage
from docker.layers import Image

PHOTOS = "/photos"
READY_SECONDS = 120.0
JOB_SECONDS = 300.0
DRAIN_SECONDS = 60.0


class Failed(Exception):
    """A statement does not hold; the text says what was found instead."""


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

    @contextmanager
    def run(self, command: list[str]) -> Iterator[tuple[Container, Path]]:
        """A container with fresh volumes and the example photos read-only; gives it and its output so far."""
        user = self.stage.last("USER").text
        with tempfile.TemporaryDirectory(dir=self.scratch) as folder:
            volumes = {PHOTOS: (self.context / "examples/data/sign_digits/train", "ro")}
            for inside in self.stage.last("VOLUME").words:
                outside = Path(folder) / inside.lstrip("/")
                outside.mkdir()
                self._give_away(outside, user)
                volumes[inside] = (outside, "rw")
            output = Path(folder) / "output"
            with (
                output.open("wb") as stream,
                running(
                    # an engine takes HOME from the user's line in /etc/passwd
                    replace(self.image, environment={**self.image.environment, "HOME": "/data"}),
                    command,
                    user=user,
                    volumes=volumes,
                    scratch=self.scratch,
                    output=stream,
                ) as container,
            ):
                yield container, output

    @staticmethod
    def _give_away(folder: Path, user: str) -> None:
        uid, gid = (int(number) for number in user.split(":"))
        os.chown(folder, uid, gid)


@dataclass(frozen=True)
class Claim:
    """A sentence, and how it is tried."""

    statement: str
    try_it: Callable[[Subject], str]


def _no_torch_no_tools(subject: Subject) -> str:
    names = ["torch", "pip", "setuptools", "onnx", "diffusers"]
    found = _idle(subject, ["python", "-c", _FIND.format(names=names, programs=["gcc", "cc", "git", "curl"])])
    if found.strip() != "[]":
        raise Failed(f"found {found}")
    return ", ".join(names) + ", gcc, git and curl are not in it"


def _user_and_rights(subject: Subject) -> str:
    found = json.loads(_idle(subject, ["python", "-c", _RIGHTS]))
    expected = {"uid": 1000, "gid": 1000, "groups": [], "capabilities": "0000000000000000", "no_new_privs": "1"}
    if found != expected:
        raise Failed(f"expected {expected}, found {found}")
    return "uid 1000, gid 1000, no further group, no capability, none to be gained"


def _read_only(subject: Subject) -> str:
    found = json.loads(_idle(subject, ["python", "-c", _WRITE]))
    if found != {"/": "EROFS", "/opt/limbeck": "EROFS", "/etc": "EROFS", "/cache": "", "/data": "", "/tmp": ""}:
        raise Failed(f"found {found}")
    return "writing to / ends with EROFS, to /cache, /data and /tmp it succeeds"


def _offline(subject: Subject) -> str:
    found = _idle(subject, ["python", "-c", _CONNECT]).strip()
    if found != "ENETUNREACH":
        raise Failed(f"a connection outside gave {found}")
    return "a connection outside ends with ENETUNREACH; all that follows ran so"


def _doctor(subject: Subject) -> str:
    with subject.run([*subject.entrypoint, "doctor", "--pack-only"]) as (container, output):
        _wait(container, output, JOB_SECONDS)
    return "limbeck doctor ran the shipped pack's engines and found their numbers right"


def _distill(subject: Subject) -> str:
    command = [*subject.entrypoint, "distill", "--data", PHOTOS, "--ipc", "1", "--out", "/data/distilled"]
    with subject.run([*command, "--set", "num_steps=4"]) as (container, output):
        _wait(container, output, JOB_SECONDS)
        images = list((output.parent / "data/distilled").rglob("*.png"))
        cached = sum(1 for _ in (output.parent / "cache").rglob("*"))
    if len(images) < 10:
        raise Failed(f"expected an image for each of 10 classes, found {len(images)} files")
    return f"limbeck distill wrote {len(images)} PNG files to /data; {cached} entries in /cache"


def _idle(subject: Subject, command: list[str]) -> str:
    """The output of `command` in a container whose first process only waits."""
    with subject.run(["tini", "--", "sleep", "infinity"]) as (container, _):
        done = container.execute(command)
    if done.returncode != 0:
        raise Failed(f"{command[0]} ended with {done.returncode}: {done.stdout}")
    return done.stdout


def _wait(container: Container, output: Path, seconds: float) -> None:
    status = container.wait(seconds=seconds)
    if status != 0:
        raise Failed(f"ended with {status}: {output.read_text(errors='replace')[-2000:]}")


_FIND = """
import importlib.util, shutil
print([n for n in {names} if importlib.util.find_spec(n)] + [p for p in {programs} if shutil.which(p)])
"""

_RIGHTS = """
import json, os, pathlib
status = pathlib.Path("/proc/self/status").read_text()
lines = dict(line.split(":\\t") for line in status.splitlines() if ":\\t" in line)
print(json.dumps({"uid": os.getuid(), "gid": os.getgid(), "groups": [g for g in os.getgroups() if g != os.getgid()],
    "capabilities": lines["CapEff"].strip(), "no_new_privs": lines["NoNewPrivs"].strip()}))
"""

_WRITE = """
import errno, json, pathlib
found = {}
for folder in ("/", "/opt/limbeck", "/etc", "/cache", "/data", "/tmp"):
    try:
        (pathlib.Path(folder) / "probe").write_text("x")
        found[folder] = ""
    except OSError as error:
        found[folder] = errno.errorcode[error.errno]
print(json.dumps(found))
"""

_CONNECT = """
import errno, socket
try:
    socket.create_connection(("192.0.2.1", 443), timeout=5)
    print("a connection")
except OSError as error:
    print(errno.errorcode.get(error.errno, repr(error)))
"""

CLAIMS = (
    Claim("no torch and no tools", _no_torch_no_tools),
    Claim("runs without privileges", _user_and_rights),
    Claim("runs on a read-only root", _read_only),
    Claim("runs without network", _offline),
    Claim("its engines compute what they shall", _doctor),
    Claim("a real distillation ends", _distill),
)
