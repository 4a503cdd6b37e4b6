"""The committed stubs are of the .proto files, and run on the oldest and the newest protobuf."""

import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("grpc", reason="the server extra is not installed")
pytest.importorskip("grpc_tools", reason="grpcio-tools compiles the .proto files; it is not installed")

from google.protobuf.descriptor_pb2 import FileDescriptorProto
from tools.protos import ROOT, RPC, generate, sources
from tools.protos_descriptors import compile_protos

GENERATOR = ROOT / ".venv-protos" / "bin" / "python"


def bare(file: FileDescriptorProto) -> FileDescriptorProto:
    """Without comments, and without what one compiler says and another leaves to be concluded."""
    file.ClearField("source_code_info")
    for message in file.message_type:
        _forget_json_names(message)
    return file


def _forget_json_names(message: Any) -> None:
    for field in message.field:
        field.ClearField("json_name")
    for nested in message.nested_type:
        _forget_json_names(nested)


def committed(path: Path) -> FileDescriptorProto:
    module = importlib.import_module(f"limbeck_server.rpc.{path.stem}_pb2")
    return bare(FileDescriptorProto.FromString(module.DESCRIPTOR.serialized_pb))


@pytest.mark.parametrize("folder", ["limbeck", "open_inference"])
def test_the_stubs_are_of_the_files(folder: str) -> None:
    for file in compile_protos(folders=(folder,)).file:
        assert committed(Path(file.name)) == bare(file), "run: python tools/protos.py"


def test_every_file_has_its_stubs_and_no_other_is_there() -> None:
    assert {path.name for path in RPC.glob("*_pb2.py")} == {f"{path.stem}_pb2.py" for path in sources()}


@pytest.mark.skipif(not GENERATOR.exists(), reason="python tools/protos.py has not made the generator's environment")
def test_the_generator_writes_the_stubs_as_they_are_committed(tmp_path: Path) -> None:
    generate(GENERATOR, tmp_path)
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (RPC / path.name).read_bytes(), f"{path.name}: run: python tools/protos.py"


@pytest.mark.slow
@pytest.mark.parametrize(
    "runtime",
    [("protobuf==6.30.*", "grpcio==1.72.*"), ("protobuf<8", "grpcio<2")],
    ids=["oldest", "newest"],
)
def test_the_stubs_run_on_the_oldest_and_the_newest_runtime(tmp_path: Path, runtime: tuple[str, str]) -> None:
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(tmp_path), *runtime]
    if subprocess.run(install, capture_output=True, timeout=300).returncode:
        pytest.skip(f"pip cannot install {' and '.join(runtime)} here")
    names = [path.stem for path in RPC.glob("*_pb2*.py")]
    code = f"import importlib; [importlib.import_module(f'limbeck_server.rpc.{{n}}') for n in {names}]"
    paths = os.pathsep.join([str(tmp_path), str(RPC.parents[1])])
    ran = subprocess.run(
        [sys.executable, "-S", "-W", "error", "-c", code],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert ran.returncode == 0, ran.stderr
