"""Short work in processes of its own: planning a job, looking through a dataset.

It needs libraries that the front has not loaded, takes memory and time that a stranger's file decides, and may be
killed at any moment. So each piece gets a new process, with its input as JSON on stdin, and its answer as lines of JSON
on stdout.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import grpc

from limbeck_server.side.failures import raised_again
from limbeck_server.wire.refusal import Refusal, RefusedError

logger = logging.getLogger(__name__)

Progress = Callable[[Mapping[str, Any]], None]

_LINE_NBYTES = 16 * 2**20
"""Of an answer at most."""
_KEPT_NBYTES = 8192
"""Of what a process says on stderr, for the log."""


class SideProcesses:
    """Runs tasks in processes, so many at a time; the others wait for their turn.

    Args:
        num_at_once: How many.
        memory_nbytes: The most private memory that each may have; None sets no limit.
        nice: How far each stands back behind the workers for the processor, 0..19.
    """

    def __init__(self, *, num_at_once: int = 1, memory_nbytes: int | None = None, nice: int = 10) -> None:
        self._turns = asyncio.Semaphore(num_at_once)
        self._memory_nbytes = memory_nbytes
        self._nice = nice

    async def run(
        self, task: str, payload: Mapping[str, Any], *, silence_seconds: float, on_progress: Progress | None = None
    ) -> dict[str, Any]:
        """As `run_side`, in its turn."""
        async with self._turns:
            return await run_side(
                task,
                payload,
                silence_seconds=silence_seconds,
                on_progress=on_progress,
                memory_nbytes=self._memory_nbytes,
                nice=self._nice,
            )


async def run_side(
    task: str,
    payload: Mapping[str, Any],
    *,
    silence_seconds: float,
    on_progress: Progress | None = None,
    memory_nbytes: int | None = None,
    nice: int = 10,
) -> dict[str, Any]:
    """What a task makes of a payload, in a new process.

    The process ends with this call, however it ends, and with the one that calls.

    Args:
        task: A key of `side.tasks.TASKS`.
        payload: JSON values.
        silence_seconds: How long it may say nothing; long work that reports its progress is not cut short.
        on_progress: Called with every report.
        memory_nbytes: The most private memory that it may have; None sets no limit.
        nice: How far it stands back for the processor, 0..19.

    Raises:
        RefusedError: The task failed, said nothing for too long, or its process died.
    """
    process = await asyncio.create_subprocess_exec(
        *_command(task, memory_nbytes, nice),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=_LINE_NBYTES,
        # A group of its own: Ctrl-C at the front is the front's to handle, and what the task starts is killed with it.
        start_new_session=True,
    )
    assert process.stderr is not None
    complaints = asyncio.create_task(_end_of(process.stderr))
    try:
        await _give(process, payload)
        answer = await _answer(process, task, silence_seconds, on_progress or (lambda report: None))
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        exit_code = await process.wait()
        said = await complaints
    if said:
        logger.warning("side_process_complained task=%s text=%s", task, said)
    if answer is None:
        raise _refused(task, f"its process ended with code {exit_code}; the server's log has what it said", "DIED")
    if answer["event"] == "error":
        raise raised_again(answer)
    result: dict[str, Any] = answer["result"]
    return result


def _command(task: str, memory_nbytes: int | None, nice: int) -> list[str]:
    # -P: nothing is imported from the folder that the server happens to stand in
    command = [sys.executable, "-P", "-m", "limbeck_server.side", task, "--parent", str(os.getpid())]
    limit = [] if memory_nbytes is None else ["--memory-nbytes", str(memory_nbytes)]
    return [*command, "--nice", str(nice), *limit]


async def _give(process: asyncio.subprocess.Process, payload: Mapping[str, Any]) -> None:
    assert process.stdin is not None
    process.stdin.write(json.dumps(payload).encode())
    # A process that has died already is noticed by its exit code.
    with suppress(ConnectionError):
        await process.stdin.drain()
    process.stdin.close()


async def _answer(
    process: asyncio.subprocess.Process, task: str, silence_seconds: float, on_progress: Progress
) -> dict[str, Any] | None:
    """The last line, or None if the process ended without one."""
    assert process.stdout is not None
    while True:
        try:
            line = await asyncio.wait_for(process.stdout.readline(), silence_seconds)
        except TimeoutError:
            raise _refused(task, f"it said nothing for {silence_seconds:g} s and was stopped", "HUNG") from None
        if not line.endswith(b"\n"):
            await process.wait()
            return None
        event: dict[str, Any] = json.loads(line)
        if event["event"] != "progress":
            return event
        on_progress(event)


async def _end_of(stream: asyncio.StreamReader) -> str:
    kept = b""
    while chunk := await stream.read(65536):
        kept = (kept + chunk)[-_KEPT_NBYTES:]
    return kept.decode(errors="replace").strip()


def _refused(task: str, what: str, how: str) -> RefusedError:
    return RefusedError(
        Refusal(code=grpc.StatusCode.INTERNAL, reason=f"SIDE_PROCESS_{how}", message=f"{task} failed: {what}")
    )
