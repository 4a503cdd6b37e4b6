"""Side processes, for real."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

pytest.importorskip("grpc", reason="the server extra is not installed")

from limbeck_server.side.runner import SideProcesses, run_side
from limbeck_server.wire.refusal import Refusal, RefusedError
from support.processes import side_processes
from support.serving import run
from support.uploads import pictures, write_files

PARENT = """
import asyncio, sys
from limbeck_server.side.runner import run_side
payload = {"path": sys.argv[1], "roots": [sys.argv[1]]}
print("begun", flush=True)
asyncio.run(run_side("check_dataset", payload, silence_seconds=600))
"""


def checked(folder: Path) -> dict[str, object]:
    return {"path": str(folder), "roots": [str(folder)]}


async def refusal(task: str, payload: dict[str, object], **settings: object) -> Refusal:
    with pytest.raises(RefusedError) as raised:
        await run_side(task, payload, silence_seconds=60, **settings)  # type: ignore[arg-type]
    return raised.value.refusal


def endless(folder: Path) -> Path:
    """A dataset that takes minutes: one picture under many names."""
    [name] = write_files(folder, pictures("cat", per_class=1, side=1500)).glob("cat/*")
    for number in range(5000):
        (folder / "cat" / f"{number}.again.png").hardlink_to(name)
    return folder


def children(pid: int) -> list[int]:
    return [child.pid for child in side_processes(pid)]


def test_a_task_gives_its_result(tmp_path: Path) -> None:
    folder = write_files(tmp_path, pictures("cat", "dog"))
    result = run(run_side("check_dataset", checked(folder), silence_seconds=60))
    assert (result["num_images"], result["num_classes"], result["unreadable"]) == (4, 2, [])


def test_a_refusal_comes_back_as_it_was_raised(tmp_path: Path) -> None:
    told = run(refusal("check_dataset", checked(tmp_path)))
    assert (told.reason, "no class folder" in told.message) == ("DATA_ERROR", True)


def test_a_bug_is_told_without_its_insides(tmp_path: Path) -> None:
    told = run(refusal("check_dataset", {}))
    assert told.reason == "INTERNAL"
    assert "KeyError" not in told.message


def test_progress_is_reported(tmp_path: Path) -> None:
    folder = write_files(tmp_path, pictures("cat"))
    seen: list[object] = []
    run(
        run_side(
            "check_dataset",
            checked(folder),
            silence_seconds=60,
            on_progress=lambda report: seen.append(report["stage"]),
        )
    )
    assert seen[:1] == ["checking"]


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory by Linux's RLIMIT_DATA")
def test_a_task_that_takes_more_memory_than_it_may_is_refused(tmp_path: Path) -> None:
    import numpy as np
    from PIL import Image

    folder = write_files(tmp_path, pictures("cat"))
    Image.fromarray(np.zeros((6000, 9000, 3), np.uint8)).save(folder / "cat" / "large.png")
    told = run(refusal("check_dataset", checked(folder), memory_nbytes=200 * 2**20))
    assert (told.reason, "200" in told.message) == ("OUT_OF_MEMORY", True)


def test_a_task_that_says_nothing_is_stopped(tmp_path: Path) -> None:
    async def test() -> None:
        with pytest.raises(RefusedError) as raised:
            await run_side("check_dataset", checked(endless(tmp_path)), silence_seconds=0.01)
        assert raised.value.refusal.reason == "SIDE_PROCESS_HUNG"
        assert children(os.getpid()) == []

    run(test())


def test_a_cancelled_call_leaves_no_process(tmp_path: Path) -> None:
    async def test() -> None:
        call = asyncio.create_task(run_side("check_dataset", checked(endless(tmp_path)), silence_seconds=60))
        while not children(os.getpid()):
            await asyncio.sleep(0.02)
        call.cancel()
        await asyncio.wait([call])
        assert children(os.getpid()) == []

    run(test())


def test_a_process_that_is_killed_refuses_the_call(tmp_path: Path) -> None:
    async def test() -> None:
        call = asyncio.create_task(refusal("check_dataset", checked(endless(tmp_path))))
        while not (found := children(os.getpid())):
            await asyncio.sleep(0.02)
        os.kill(found[0], signal.SIGKILL)
        assert (await call).reason == "SIDE_PROCESS_DIED"

    run(test())


def test_only_so_many_run_at_once(tmp_path: Path) -> None:
    async def test() -> None:
        side = SideProcesses(num_at_once=1)
        payload = checked(endless(tmp_path))
        calls = [asyncio.create_task(side.run("check_dataset", payload, silence_seconds=60)) for _ in range(3)]
        while not children(os.getpid()):
            await asyncio.sleep(0.02)
        for _ in range(10):
            await asyncio.sleep(0.02)
            assert len(children(os.getpid())) == 1
        for call in calls:
            call.cancel()
        await asyncio.wait(calls)

    run(test())


@pytest.mark.skipif(sys.platform != "linux", reason="dies with its parent by Linux's PR_SET_PDEATHSIG")
def test_a_side_process_dies_with_a_front_that_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT, str(endless(tmp_path))], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        deadline = time.monotonic() + 60
        while not (found := psutil.Process(parent.pid).children()) and time.monotonic() < deadline:
            time.sleep(0.02)
        parent.kill()
    psutil.wait_procs(found, timeout=60)
    assert not any(child.is_running() for child in found)


def test_a_side_process_whose_parent_is_gone_already_does_nothing() -> None:
    command = [sys.executable, "-m", "limbeck_server.side", "check_dataset", "--parent", "1"]
    done = subprocess.run(command, input="{}", capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "")


def test_an_unknown_task_refuses_the_call() -> None:
    assert run(refusal("juggle", {})).reason == "SIDE_PROCESS_DIED"
