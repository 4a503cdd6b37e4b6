"""The docs are true: links resolve, commands have pages, tables list what exists, blocks and examples run."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest
from tools.cli_help import PAGES, commands, with_help

ROOT = Path(__file__).parents[2]
PAGES_OF_ALL = sorted(
    p
    for p in [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("examples/**/*.md"),
        *ROOT.glob("tools/**/*.md"),
    ]
)
EXAMPLES = sorted(ROOT.glob("examples/[0-9]*.py"))


@pytest.mark.parametrize("page", PAGES_OF_ALL, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_resolve(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", text) + re.findall(r'src="([^"]+)"', text)
    local = [target for target in targets if not re.match(r"[a-z]+:", target)]
    assert [target for target in local if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("command", commands())
def test_every_command_has_a_page_with_its_help_of_today(command: str) -> None:
    page = (PAGES / f"{command}.md").read_text()
    assert with_help(page, command) == page, "run: python tools/cli_help.py"


@pytest.mark.parametrize("command", commands())
def test_every_command_shows_an_example_in_its_help(command: str) -> None:
    assert f"Example: limbeck {command}" in (PAGES / f"{command}.md").read_text()


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_examples_run(example: Path, tmp_path: Path) -> None:
    if "torch" in example.read_text() and not (find_spec("torch") and find_spec("diffusers")):
        pytest.skip("needs the export extra (torch, diffusers)")
    assert output([str(example)], cwd=ROOT, temporary=tmp_path).strip()


def test_the_commands_of_the_readme_run(tmp_path: Path) -> None:
    """All of its `limbeck` lines, in order, in one empty folder; `make` and `git` lines are what calls this test."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if line.startswith("limbeck ")]
    assert lines
    for line in lines:
        arguments = shlex.split(line, comments=True)[1:]
        output(["-m", "limbeck_server.cli", *arguments], cwd=tmp_path, temporary=tmp_path)


def test_the_python_blocks_of_the_readme_run(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    assert blocks
    for block in blocks:
        output(["-c", block], cwd=ROOT, temporary=tmp_path)


def output(arguments: Sequence[str], *, cwd: Path, temporary: Path) -> str:
    """What Python prints when run with these arguments, which must end well."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, "TMPDIR": str(temporary), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, f"{arguments}\n{done.stderr}"
    return done.stdout
