"""Put each command's help into its page under docs/reference/cli, between two markers.

python tools/cli_help.py          rewrites the pages
"""

from __future__ import annotations

from pathlib import Path

from typer.main import get_command
from typer.testing import CliRunner

from limbeck_server.cli import app

PAGES = Path(__file__).parents[1] / "docs/reference/cli"
START, END = "<!-- help: written by tools/cli_help.py -->\n", "<!-- end of help -->\n"


def commands() -> list[str]:
    """The names of all commands."""
    return sorted(get_command(app).commands)  # type: ignore[attr-defined]


def with_help(page: str, command: str) -> str:
    """`page` with the block between the markers replaced by the command's help of today, and its subcommands'."""
    group = getattr(get_command(app).commands[command], "commands", {})  # type: ignore[attr-defined]
    shown = "\n".join(_shown(*names) for names in [(command,), *((command, name) for name in group)])
    before, _, rest = page.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}\n{shown}\n{END}{after}"


def _shown(*names: str) -> str:
    shown = CliRunner().invoke(app, [*names, "--help"], env={"COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"})
    lines = "\n".join(line.rstrip() for line in shown.output.strip("\n").splitlines())
    return f"```text\n{lines}\n```\n"


def main() -> None:
    """Rewrite every page."""
    for command in commands():
        path = PAGES / f"{command}.md"
        path.write_text(with_help(path.read_text(), command))


if __name__ == "__main__":
    main()
