"""What `docker.prove` tries on an image, one function a statement; each says what it found or fails."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from docker.server_claims import default_start_is_refused, serves, survives
from docker.subject import PHOTOS, Failed, Subject

SECONDS = 300.0


@dataclass(frozen=True)
class Claim:
    """A sentence, and how it is tried."""

    statement: str
    try_it: Callable[[Subject], str]


def _no_torch_no_tools(subject: Subject) -> str:
    names = ["torch", "pip", "setuptools", "onnx", "diffusers"]
    found = subject.idle(["python", "-c", _FIND.format(names=names, programs=["gcc", "cc", "git", "curl"])])
    if found.strip() != "[]":
        raise Failed(f"found {found}")
    return ", ".join(names) + ", gcc, git and curl are not in it"


def _user_and_rights(subject: Subject) -> str:
    found = json.loads(subject.idle(["python", "-c", _RIGHTS]))
    expected = {"uid": 1000, "gid": 1000, "groups": [], "capabilities": "0000000000000000", "no_new_privs": "1"}
    if found != expected:
        raise Failed(f"expected {expected}, found {found}")
    return "uid 1000, gid 1000, no further group, no capability, none to be gained"


def _read_only(subject: Subject) -> str:
    found = json.loads(subject.idle(["python", "-c", _WRITE]))
    if found != {"/": "EROFS", "/opt/limbeck": "EROFS", "/etc": "EROFS", "/cache": "", "/data": "", "/tmp": ""}:
        raise Failed(f"found {found}")
    return "writing to / ends with EROFS, to /cache, /data and /tmp it succeeds"


def _offline(subject: Subject) -> str:
    found = subject.idle(["python", "-c", _CONNECT]).strip()
    if found != "ENETUNREACH":
        raise Failed(f"a connection outside gave {found}")
    return "a connection outside ends with ENETUNREACH; all that follows ran so"


def _doctor(subject: Subject) -> str:
    _once(subject, ["doctor", "--pack-only"])
    return "limbeck doctor ran the shipped pack's engines and found their numbers right"


def _distill(subject: Subject) -> str:
    files = _once(
        subject, ["distill", "--data", PHOTOS, "--ipc", "1", "--out", "/data/distilled", "--set", "num_steps=4"]
    )
    images = [name for name in files if name.startswith("data/distilled/train/") and name.endswith(".png")]
    if len(images) != 10:
        raise Failed(f"expected an image for each of 10 classes, found {images}")
    return "limbeck distill wrote one image for each of the 10 classes of the example photos to /data"


def _once(subject: Subject, arguments: list[str]) -> list[str]:
    """Run the entry point with `arguments` to its end; gives the files that are then in the volumes."""
    with subject.volumes() as volumes:
        with subject.run([*subject.entrypoint, *arguments], volumes) as (container, output):
            status = container.wait(seconds=SECONDS)
            if status != 0:
                raise Failed(f"{arguments[0]} ended with {status}: {output.read_text(errors='replace')[-2000:]}")
        return [str(path.relative_to(volumes.folder)) for path in volumes.folder.rglob("*")]


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
    Claim("without tokens and certificate it does not start", default_start_is_refused),
    Claim("the server serves", serves),
    Claim("a job outlives its container", survives),
)
