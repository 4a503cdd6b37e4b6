"""Build the CPU image from its Dockerfile and run it, on a machine without Docker, and say what that proved.

    python -m docker.prove --scratch FOLDER        in the repository's root, as root, on Linux

A root file system that debootstrap makes plays the base image; every other step is the Dockerfile's own. What runs in
it runs as the image's user on a read-only root without network. Ends with 1 if anything that was tried failed.
"""

from __future__ import annotations

import argparse
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from docker.claims import CLAIMS, Claim
from docker.dockerfile import Stage, parse
from docker.layers import Builder, Image, nbytes
from docker.subject import Failed, Subject

CONTEXT = Path(__file__).resolve().parent.parent
DOCKERFILE = CONTEXT / "docker" / "cpu" / "Dockerfile"

NOT_PROVED = (
    "the base image itself: debootstrap's Debian of the same release played it, nothing was pulled from a registry",
    "that Docker, BuildKit or Kubernetes accept the files: none runs here; linters and schemas read them instead",
    "HEALTHCHECK's timing and restarts: its command was run, the engine that repeats it was not there",
    "memory and processor limits, GPUs, arm64, and the images for CUDA and Jetson",
)


def main() -> int:
    """Build, run, report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--scratch", type=Path, required=True, help="an empty or new folder with 3 GB free")
    parser.add_argument("--base", type=Path, help="a Debian root file system; by default debootstrap makes one")
    parser.add_argument("--keep", action="store_true", help="leave the layers there")
    arguments = parser.parse_args()
    scratch = arguments.scratch.resolve()
    scratch.mkdir(parents=True, exist_ok=True)
    try:
        stages = parse(DOCKERFILE)
        base = (arguments.base or _debian(scratch / "debian")).resolve()
        image = Builder(scratch, CONTEXT, base).build(stages)
        return _report(stages, image, scratch)
    finally:
        if not arguments.keep:
            shutil.rmtree(scratch, ignore_errors=True)


# as the official images have it: what apt fetched stays in no layer
_CLEAN = """DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb /var/cache/apt/*.bin"; };
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
"""


def _debian(target: Path) -> Path:
    """A minimal Debian 12 in `target`, with `debootstrap` and its default mirror."""
    subprocess.run(["debootstrap", "--variant=minbase", "bookworm", str(target)], check=True)
    (target / "etc/apt/apt.conf.d/docker-clean").write_text(_CLEAN)
    return target


def _report(stages: tuple[Stage, ...], image: Image, scratch: Path) -> int:
    results = [_tried(claim, Subject(stages[-1], image, scratch, CONTEXT)) for claim in CLAIMS]
    print(f"\n{DOCKERFILE.relative_to(CONTEXT)} on {platform.machine()}")
    print("\nlayers, uncompressed, above the base image:")
    for layer in image.layers:
        print(f"  {nbytes(layer.folder) / 1e6:8.1f} MB  {layer.made_by[:90]}")
    print(f"  {sum(nbytes(layer.folder) for layer in image.layers) / 1e6:8.1f} MB  together")
    print(f"  {_compressed(image) / 1e6:8.1f} MB  together, each compressed by gzip as a registry holds it")
    print(
        f"  {nbytes(image.base) / 1e6:8.1f} MB  the stand-in for {stages[0].base} (debootstrap's, not the registry's)"
    )
    print("\nproved:")
    for result in results:
        if result.passed:
            print(f"  {result.statement}: {result.found}")
    print("\nfailed:" if any(not result.passed for result in results) else "\nnothing failed")
    for result in results:
        if not result.passed:
            print(f"  {result.statement}:\n    " + result.found.replace("\n", "\n    "))
    print("\nnot proved:")
    for statement in NOT_PROVED:
        print(f"  {statement}")
    return int(any(not result.passed for result in results))


@dataclass(frozen=True)
class _Result:
    statement: str
    passed: bool
    found: str


def _tried(claim: Claim, subject: Subject) -> _Result:
    print(f"trying: {claim.statement} …", flush=True)
    try:
        return _Result(claim.statement, True, claim.try_it(subject))
    except (Failed, subprocess.TimeoutExpired) as failure:
        return _Result(claim.statement, False, str(failure))


def _compressed(image: Image) -> int:
    return sum(_gzip_nbytes(layer.folder) for layer in image.layers)


def _gzip_nbytes(folder: Path) -> int:
    count = subprocess.run(
        ["sh", "-c", 'tar --create --directory "$1" . | gzip | wc --bytes', "count", str(folder)],
        check=True,
        capture_output=True,
        text=True,
    )
    return int(count.stdout)


if __name__ == "__main__":
    sys.exit(main())
