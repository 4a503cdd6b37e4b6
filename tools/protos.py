"""Write the Python stubs of every file below protos/ into server/limbeck_server/rpc/.

    python tools/protos.py

The stubs are written by the oldest generator whose code runs on protobuf 6 and 7: generated code runs on its own
version of protobuf or newer ones, up to the next major version. The generator lives in an environment of its own
(`.venv-protos`, made on the first run), because it is older than the runtime that is installed beside limbeck.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROTOS = ROOT / "protos"
RPC = ROOT / "server" / "limbeck_server" / "rpc"
PACKAGE = "limbeck_server.rpc"
GENERATOR = "grpcio-tools==1.72.2"  # writes for protobuf 6.30 and grpcio 1.72
# Its imports look like `from limbeck.v1 import jobs_pb2 as …`: protoc takes the proto's own path for the module's.
# That path is the natural one for every other language, so it is kept, and Python's imports are rewritten instead.
OWN_IMPORT = re.compile(r"^from (?:limbeck|open_inference)[\w.]* import (\w+_pb2)", re.MULTILINE)


def sources() -> list[Path]:
    """Every .proto file, relative to protos/.

    Raises:
        SystemExit: Two have the same name: their stubs lie in one folder.
    """
    found = sorted(path.relative_to(PROTOS) for path in PROTOS.rglob("*.proto"))
    if len({path.name for path in found}) != len(found):
        raise SystemExit(f"two .proto files have the same name: {', '.join(map(str, found))}; rename one")
    return found


def generator() -> Path:
    """The Python that has the generator; its environment is made if it is not there."""
    folder = ROOT / ".venv-protos"
    python = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    ready = folder / GENERATOR
    if not ready.exists():
        venv.create(folder, with_pip=True, clear=True)
        # setuptools: the generator asks it where its own files are
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", GENERATOR]
        subprocess.run([*install, "setuptools<81"], check=True)
        ready.touch()
    return python


def generate(python: Path, out: Path) -> None:
    """Write the stubs into the folder `out`, with the `grpc_tools` that `python` has."""
    with tempfile.TemporaryDirectory() as folder:
        command = [str(python), "-m", "grpc_tools.protoc", f"-I{PROTOS}"]
        outputs = [f"--{kind}_out={folder}" for kind in ("python", "grpc_python", "pyi")]
        subprocess.run([*command, *outputs, *map(str, sources())], check=True, cwd=PROTOS)
        for path in Path(folder).rglob("*.py*"):
            text = OWN_IMPORT.sub(rf"from {PACKAGE} import \1", path.read_text("utf-8"))
            if not path.name.endswith("_grpc.py") or "class " in text:  # one without a service says nothing
                (out / path.name).write_text(text, "utf-8")


def main() -> None:
    """Replace all stubs."""
    python = generator()
    RPC.mkdir(exist_ok=True)
    for old in RPC.glob("*_pb2*.py*"):
        old.unlink()
    generate(python, RPC)
    print(f"{len(list(RPC.glob('*_pb2*.py*')))} stubs of {len(sources())} files in {RPC.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
