"""Run an image as a container is run: read-only, without network or privileges, as the image's user.

Namespaces of its own for mounts, processes, network, host name and shared memory; the root file system is laid together
from layers and cannot be written to; /tmp is a tmpfs, and the volumes are folders of this machine. Only the loopback
device is up. Needs root on Linux.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from docker.layers import Image, mounted

if TYPE_CHECKING:
    from collections.abc import Iterator

START_SECONDS = 30.0
SECONDS = 600.0

_UNSHARED = ("unshare", "--mount", "--pid", "--net", "--uts", "--ipc", "--fork", "--kill-child")
# The root was mounted read-only from its layers. /proc must be of the new process namespace; the network namespace is
# new, so "lo" is all there is.
_INIT = """set -eu
root=$1; shift
mount --types proc proc "$root/proc"
mount --types tmpfs -o mode=755 tmpfs "$root/dev"
for one in null zero full random urandom; do touch "$root/dev/$one"; mount --bind "/dev/$one" "$root/dev/$one"; done
mkdir "$root/dev/shm"
mount --types tmpfs -o mode=1777 tmpfs "$root/dev/shm"
mount --types tmpfs -o mode=1777 tmpfs "$root/tmp"
while [ "$1" != -- ]; do mount --bind "$1" "$root$2"; [ "$3" = rw ] || mount -o remount,bind,ro "$root$2"; shift 3; done
shift
ip link set lo up
hostname container
exec "$@"
"""


class Container:
    """A running container. `execute` runs a further command in it, as `docker exec` does."""

    def __init__(self, process: subprocess.Popen[bytes], root: Path, image: Image, user: str) -> None:
        """Wrap what `running` started."""
        self._process = process
        self._root = root
        self._image = image
        self._user = user

    def execute(self, command: Sequence[str], *, seconds: float = SECONDS) -> subprocess.CompletedProcess[str]:
        """Run `command` beside the first one and wait for it; output and errors are kept together."""
        enter = ["nsenter", f"--target={self._inner()}", "--mount", "--net", "--pid", "--ipc", "--uts"]
        return subprocess.run(
            [*enter, *_as_user(self._root, self._image, self._user, command)],
            env=self._image.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
            check=False,
        )

    def kill(self) -> None:
        """End every process in it at once, as `docker kill` and a crash do."""
        os.kill(self._inner(), signal.SIGKILL)
        self._process.wait()

    def stop(self, *, seconds: float) -> int:
        """Send SIGTERM to the first process, as `docker stop` does, and give its exit status."""
        os.kill(self._inner(), signal.SIGTERM)
        return self._process.wait(timeout=seconds)

    def wait(self, *, seconds: float) -> int:
        """Wait for the first process and give its exit status."""
        return self._process.wait(timeout=seconds)

    def _inner(self) -> int:
        """The first process's id outside; it appears shortly after the start."""
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and self._process.poll() is None:
            found = _children(self._process.pid)
            if found:
                return found[0]
            time.sleep(0.05)
        raise RuntimeError("the container's first process did not start, or has ended")


@contextmanager
def running(
    image: Image,
    command: Sequence[str],
    *,
    user: str,
    volumes: Mapping[str, tuple[Path, str]],
    scratch: Path,
    output: IO[bytes],
) -> Iterator[Container]:
    """Start `command` in `image`; on leaving, what still runs is killed.

    Args:
        image: Its environment and working folder are used.
        command: Entry point and arguments.
        user: `uid:gid`.
        volumes: By the path inside: the folder outside, and "ro" or "rw".
        scratch: Where the root is mounted.
        output: Takes what the command prints.
    """
    # an engine adds these before it makes the root read-only: the volumes' folders, and names for the loopback device
    points = scratch / "points"
    for inside in ("/etc", *volumes):
        (points / inside.lstrip("/")).mkdir(parents=True, exist_ok=True)
    (points / "etc/hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")
    binds = [word for inside, (outside, mode) in volumes.items() for word in (str(outside), inside, mode)]
    with mounted([*image.folders, points], scratch / "container") as root:
        process = subprocess.Popen(
            [*_UNSHARED, "sh", "-c", _INIT, "init", str(root), *binds, "--", *_as_user(root, image, user, command)],
            env=image.environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            yield Container(process, root, image, user)
        finally:
            # a change of user takes back --kill-child; the first process takes all others along
            for child in _children(process.pid):
                os.kill(child, signal.SIGKILL)
            process.kill()
            process.wait()


def _children(process: int) -> list[int]:
    """The ids of its children; none once it has ended."""
    try:
        return [int(text) for text in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def _as_user(root: Path, image: Image, user: str, command: Sequence[str]) -> list[str]:
    """`command` in the root as `user`, in the working folder, with no way to become more."""
    inside = ["/bin/sh", "-c", 'cd "$1" && shift && exec "$@"', "enter", image.workdir, *command]
    return ["setpriv", "--no-new-privs", "chroot", f"--userspec={user}", "--groups=", str(root), *inside]
