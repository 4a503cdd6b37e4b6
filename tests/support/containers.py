"""The project's container files, parsed, and the linters that may be there to read them."""

import inspect
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
import yaml
from docker.dockerfile import Stage, parse

from limbeck_server.cli.serve import serve

DOCKER = Path(__file__).resolve().parents[2] / "docker"
KINDS = ("cpu", "cuda", "jetson")


def stages_of(kind: str) -> tuple[Stage, ...]:
    return parse(DOCKER / kind / "Dockerfile")


def image_of(kind: str) -> Stage:
    """The stage that runs."""
    return stages_of(kind)[-1]


def documents(path: Path) -> list[Any]:
    return list(yaml.safe_load_all(path.read_text()))


def run_tool(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a linter that reads files and nothing else; the test is skipped where it is not installed."""
    beside = str(Path(sys.executable).parent)  # the environment need not be activated
    tool = shutil.which(command[0], path=f"{beside}{os.pathsep}{os.environ.get('PATH', '')}")
    if tool is None:
        pytest.skip(f"{command[0]} is not installed")
    return subprocess.run([tool, *command[1:]], capture_output=True, text=True, timeout=120, check=False)


def flags_of_serve() -> set[str]:
    """The flags of `limbeck serve`, as typer makes them from the command's parameters."""
    flags: set[str] = set()
    for name, parameter in inspect.signature(serve, eval_str=True).parameters.items():
        options = [one for one in get_args(parameter.annotation) if isinstance(one, typer.models.OptionInfo)]
        flags |= set(options[0].param_decls or ()) or {f"--{name.replace('_', '-')}"}
    return flags
