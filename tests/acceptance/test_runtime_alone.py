"""What a user installs, alone in a fresh environment: no torch, every command there, and it distills."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PHOTOS = ROOT / "examples/data/sign_digits/test"
PACK_LIMIT = 25 * 10**6
SERVER_EXTRA = (
    "app",
    "client",
    "datasets",
    "engines",
    "front",
    "operations",
    "rpc",
    "services",
    "side",
    "store",
    "trust",
    "web",
    "wire",
    "workers",
)
"""Of limbeck_server, what the server extra is for; the command line imports none of it that needs gRPC."""

BUILD_WORLD = ("torch", "diffusers", "transformers", "timm", "onnx", "onnxscript", "pyarrow")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(out), str(ROOT)]
    built = subprocess.run(command, capture_output=True, text=True)
    if built.returncode != 0 and "No matching distribution" in built.stderr:
        pytest.skip("building a wheel needs hatchling from a package registry, and none answers")
    assert built.returncode == 0, built.stderr
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def alone(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands of an environment with the wheel and what it asks for, at a path with a space."""
    folder = tmp_path_factory.mktemp("a space") / "run world"
    venv.create(folder, with_pip=True)
    binaries = folder / ("Scripts" if os.name == "nt" else "bin")
    install = [binaries / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel]
    done = subprocess.run(install, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return binaries


def test_the_wheel_holds_three_packages_and_the_mini_pack_within_its_limit(wheel: Path) -> None:
    files = zipfile.ZipFile(wheel).infolist()
    tops = {entry.filename.split("/")[0] for entry in files}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"limbeck", "limbeck_kernels", "limbeck_server"}
    pack = [entry for entry in files if entry.filename.startswith("limbeck/packs/mini/")]
    assert any(entry.filename.endswith("pack.json") for entry in pack)
    assert sum(entry.file_size for entry in pack) <= PACK_LIMIT
    assert any(entry.filename.endswith("NOTICE") for entry in files)


def test_the_runtime_has_no_torch_and_imports_without_it(alone: Path) -> None:
    code = (
        "import importlib.util, json, pkgutil, sys\n"
        "import limbeck, limbeck_kernels, limbeck_server\n"
        f"found = [name for name in {BUILD_WORLD!r} if importlib.util.find_spec(name)]\n"
        "for package in (limbeck, limbeck_kernels, limbeck_server):\n"
        "    for module in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):\n"
        "        build_world = ('limbeck.export.', 'limbeck.quantize.', 'limbeck.backends.torch_',\n"
        "                       'limbeck.evaluate.training', 'limbeck.evaluate.runs', 'limbeck.evaluate.students.')\n"
        "        served = ('limbeck.client', *(f'limbeck_server.{part}' for part in\n"
        f"                  {SERVER_EXTRA!r}))\n"
        "        if not module.name.startswith((*build_world, *served)) and not module.name.endswith('__main__'):\n"
        "            __import__(module.name)\n"
        "print(json.dumps(found))"
    )
    done = subprocess.run([alone / "python", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []


def test_the_runtime_alone_distills_verifies_and_reports(alone: Path, tmp_path: Path) -> None:
    distill = ["distill", "--data", PHOTOS, "--ipc", "1", "--set", "num_steps=4", "--out", "set"]
    for arguments in (distill, ["verify", "set"], ["doctor"]):
        command = [alone / "limbeck", *arguments, "--json"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
    assert len(list((tmp_path / "set/train").rglob("*.png"))) == 10


def test_exporting_without_torch_names_the_extra_to_install(alone: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [alone / "limbeck", "export", "some/model", "--out", tmp_path / "pack"], capture_output=True, text=True
    )
    assert done.returncode == 6
    assert "limbeck[export]" in done.stderr
