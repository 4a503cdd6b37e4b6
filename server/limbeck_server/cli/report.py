"""What a command prints: for a person with rich, for a machine one JSON object a line.

Results go to standard output, progress and errors to standard error. A `LimbeckError` inside the block becomes its
message and its exit code.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from limbeck.errors import EngineError, Interrupted, LimbeckError

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object a line instead of text.")]


class Report:
    """The output of one command."""

    def __init__(self, *, as_json: bool) -> None:
        """Results for a person, or as JSON lines."""
        self.as_json = as_json
        self._out = Console(highlight=False, soft_wrap=True, emoji=False)
        self._err = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)
        self._bar: Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    def event(self, event: str, **fields: object) -> None:
        """A machine-readable result; printed only with `--json`."""
        if self.as_json:
            sys.stdout.write(json.dumps({"event": event, **fields}, default=str) + "\n")
            sys.stdout.flush()

    def say(self, text: str) -> None:
        """A line for a person; nothing with `--json`."""
        if not self.as_json:
            self._out.print(text, markup=False)

    def warn(self, text: str) -> None:
        """A line on standard error, or an event with `--json`."""
        if self.as_json:
            self.event("warning", message=text)
        else:
            self._err.print(text, markup=False, style="yellow")

    def table(
        self,
        title: str,
        columns: Sequence[str],
        rows: Sequence[Sequence[object]],
        *,
        numbers: bool = False,
        whole_names: bool = False,
    ) -> None:
        """A small table for a person; nothing with `--json`.

        With `numbers`, all but the first column align right; with `whole_names`, there is no frame and no broken line.
        """
        if self.as_json:
            return
        table = Table(title=Text(title), title_justify="left")
        if whole_names:
            table.box = None
        for i, column in enumerate(columns):
            table.add_column(
                column,
                justify="right" if numbers and i else "left",
                no_wrap=whole_names,
                overflow="fold",
            )
        for row in rows:
            table.add_row(*(Text(str(cell)) for cell in row))
        self._out.print(table)

    @contextmanager
    def progress(self) -> Iterator[None]:
        """Within the block `step` draws bars (on a terminal) or, with `--json`, prints events."""
        columns = (
            TextColumn("{task.description:<12}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self._err, disable=self.as_json) as bar:
            self._bar, self._tasks = bar, {}
            try:
                yield
            finally:
                self._bar = None

    def step(self, stage: str, done: int, total: int) -> None:
        """`done` of `total` in `stage`; a stage that starts again gets its bar back."""
        self.event("progress", stage=stage, done=done, total=total)
        if self._bar is None:
            return
        if stage not in self._tasks:
            self._tasks[stage] = self._bar.add_task(stage, total=total)
        self._bar.update(self._tasks[stage], completed=done, total=total)

    def error(self, error: LimbeckError) -> None:
        """The message of an error, on standard error or as an event."""
        kind = type(error).__name__
        if self.as_json:
            self.event("error", type=kind, message=str(error), exit_code=error.exit_code)
        else:
            self._err.print(f"{kind}: {error}", markup=False, style="red")


@contextmanager
def reporting(as_json: bool) -> Iterator[Report]:
    """The block of a command: its report, and errors turned into exit codes.

    Raises:
        typer.Exit: With the code of the `LimbeckError` that was raised inside, or that stands for what was raised:
            Ctrl-C, a file that the system refuses, memory that is not there.
    """
    report = Report(as_json=as_json)
    try:
        yield report
    except LimbeckError as error:
        found = error
    except KeyboardInterrupt:
        found = Interrupted("stopped by Ctrl-C or SIGTERM")
    except BrokenPipeError:
        raise
    except OSError as error:
        found = LimbeckError(f"the system refused a file: {error}")
    except MemoryError as error:
        found = EngineError(f"out of memory{f': {error}' if str(error) else ''}; raise the limit, or lower --bucket")
    else:
        return
    report.error(found)
    raise typer.Exit(found.exit_code)


def parse_settings(pairs: Sequence[str], *, option: str = "--set") -> dict[str, object]:
    """The `name=value` pairs of an option; a value that reads as JSON is one (numbers, lists, null), otherwise text.

    Of a name that is given twice the last value counts, so that a command can be changed at its end.
    """
    settings: dict[str, object] = {}
    for pair in pairs:
        name, found, value = pair.partition("=")
        if not found:
            raise typer.BadParameter(f"{option} takes name=value, got '{pair}'")
        try:
            settings[name.strip()] = json.loads(value)
        except json.JSONDecodeError:
            settings[name.strip()] = value
    return settings
