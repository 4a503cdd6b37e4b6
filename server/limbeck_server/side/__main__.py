"""One task in this process: `python -m limbeck_server.side TASK`, JSON on stdin, lines of JSON on stdout."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import IO, Any

from limbeck.budget import format_nbytes
from limbeck.errors import MemoryLimitError
from limbeck_server.mortal import die_with_parent
from limbeck_server.side.failures import told
from limbeck_server.side.tasks import TASKS

_REPORT_SECONDS = 0.5
"""Between two reports of progress."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a task; 0 if it came to a result."""
    parser = argparse.ArgumentParser(prog="python -m limbeck_server.side", description=__doc__)
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--parent", type=int, required=True, help="the process id of whoever starts this")
    parser.add_argument("--nice", type=int, default=0)
    parser.add_argument("--memory-nbytes", type=int)
    asked = parser.parse_args(arguments)
    die_with_parent(asked.parent)
    os.nice(asked.nice)
    _limit_memory(asked.memory_nbytes)
    answers = _Answers()
    payload = json.load(sys.stdin)
    try:
        answers.say({"event": "result", "result": TASKS[asked.task](payload, answers.report)})
    except MemoryError:
        answers.say({"event": "error", **told(_too_much(asked.task, asked.memory_nbytes))})
        return 1
    except Exception as error:
        answers.say({"event": "error", **told(error)})
        return 1
    return 0


class _Answers:
    """The lines that the front reads. What a library prints goes to stderr instead."""

    def __init__(self) -> None:
        self._stream: IO[str] = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        self._reported = 0.0

    def say(self, answer: Mapping[str, Any]) -> None:
        self._stream.write(json.dumps(answer) + "\n")
        self._stream.flush()

    def report(self, stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._reported >= _REPORT_SECONDS:
            self._reported = now
            self.say({"event": "progress", "stage": stage, "done": done, "total": total})


def _limit_memory(nbytes: int | None) -> None:
    if nbytes is not None and sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (nbytes, nbytes))


def _too_much(task: str, nbytes: int | None) -> MemoryLimitError:
    limit = "the machine has" if nbytes is None else f"the {format_nbytes(nbytes)} that it may have"
    return MemoryLimitError(f"{task} takes more memory than {limit}")


if __name__ == "__main__":
    sys.exit(main())
