"""An evaluation in a worker: `limbeck evaluate` in a process of its own, which takes torch with it when it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from limbeck import errors
from limbeck.errors import LimbeckError
from limbeck_server.evaluation_options import uses
from limbeck_server.rpc import worker_pb2
from limbeck_server.runner.open_job import OnProgress
from limbeck_server.spec import EvaluateSpec, Places, Reading

_RUN = "from limbeck_server.mortal import die_with_parent; die_with_parent({parent}); {rest}"
_REST = "from limbeck_server.cli import main; main()"
_PATIENCE_SECONDS = 10.0
"""How long a stopped evaluation may take to end by itself."""


class EvaluationError(LimbeckError):
    """An evaluation that failed for a reason which its process did not put in words of its own."""


class Evaluating:
    """One evaluation. Use it by `with`; the end ends its process.

    Args:
        spec: What was asked.
        places: Where things are.
        send: Tells the front.
        step: Called at each line that the process prints; what it raises ends it.
    """

    def __init__(self, spec: EvaluateSpec, places: Places, *, send: Callable[..., None], step: OnProgress) -> None:
        """Start nothing yet."""
        self._command = [sys.executable, "-c", _RUN.format(parent=os.getpid(), rest=_REST), *arguments(spec, places)]
        self._send = send
        self._step = step

    def __enter__(self) -> Evaluating:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def prepare(self, lease: str) -> None:
        """An evaluation is one unit."""
        unit = worker_pb2.Unit(index=0)
        self._send(prepared=worker_pb2.Prepared(lease=lease, prepared_json="{}", units=[unit]))

    def make(self, lease: str) -> None:
        """Evaluate, and tell the front the figures.

        Raises:
            EvaluationError: It failed.
        """
        results: list[dict[str, Any]] = []
        with _running(self._command) as process, _last_lines(process) as told:
            assert process.stdout is not None
            for line in process.stdout:
                event = json.loads(line)
                kind = event.pop("event")
                if kind == "progress":
                    self._step(event["stage"], event["done"], event["total"])
                elif kind == "error":
                    raise _error(event["type"], event["message"])
                else:
                    results.append({"kind": kind, **event})
            if process.wait():
                raise EvaluationError(f"the evaluation ended with {process.returncode}: {told()}")
        self._send(
            unit_finished=worker_pb2.UnitFinished(lease=lease, index=0, result_json=json.dumps({"rows": results}))
        )


def arguments(spec: EvaluateSpec, places: Places) -> list[str]:
    """The command line that asks `limbeck` for what `spec` asks."""

    def located(resource: str, reading: Reading) -> str:
        return reading.location(places.path(resource))

    options: dict[str, object] = {
        "test": located(spec.test_dataset, spec.test_reading),
        "train": located(spec.train_dataset, spec.train_reading) if spec.train_dataset else None,
        "protocol": spec.protocol,
        "student": spec.student,
        "seeds": spec.seeds,
        "teacher": spec.teacher,
        "heir": places.packs[spec.heir_pack] if spec.heir_pack else None,
        "scale": spec.scale,
        "epochs": spec.epochs,
        "checks": spec.checks,
        "image_size": spec.image_size,
        "norm": spec.norm,
        "width": spec.width,
        "precision": spec.precision,
        "device": spec.device,
        "pack": places.packs[spec.pack],
        "backend": spec.backend,
    }
    backend = {**places.backend.get(spec.backend, {}), **spec.backend_settings}
    return [
        "evaluate",
        *(
            f"--{name.replace('_', '-')}={value}"
            for name, value in options.items()
            if value is not None and uses(spec.protocol, name)
        ),
        *(f"--baseline={name}" for name in spec.baselines if uses(spec.protocol, "baseline")),
        *(f"--backend-set={name}={json.dumps(value)}" for name, value in backend.items()),
        "--json",
        "--",
        *(str(places.path(one)) for one in spec.distilled_sets),
    ]


def _error(kind: str, message: str) -> LimbeckError:
    """The error that the process told, as one of its class."""
    found = getattr(errors, kind, None)
    if isinstance(found, type) and issubclass(found, LimbeckError) and found.__init__ is LimbeckError.__init__:
        return found(message)
    return EvaluationError(message)


@contextmanager
def _running(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    """The process; it is ended with the block, gently first."""
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        with process:
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.terminate()
                    try:
                        process.wait(_PATIENCE_SECONDS)
                    except subprocess.TimeoutExpired:
                        process.kill()
    finally:
        process.wait()


@contextmanager
def _last_lines(process: subprocess.Popen[str]) -> Iterator[Callable[[], str]]:
    """Read standard error to its end, and keep the last of it."""
    assert process.stderr is not None
    lines: deque[str] = deque(maxlen=20)
    reader = threading.Thread(target=lines.extend, args=(process.stderr,), daemon=True)
    reader.start()

    def told() -> str:
        reader.join(1)
        return "".join(lines)

    yield told
