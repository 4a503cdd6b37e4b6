"""What an engine costs, measured: loaded and run in a child process of its own, under the limit that will be in force.

Figures are increments over the same process before the engine was loaded, so that they can be added up. A guess from
the size of weights and activations would be wrong by a factor of two either way: runtimes repack weights, share
buffers, and keep arenas.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection

import numpy as np

from limbeck.arrays import Array
from limbeck.backends.base import Backend, Graph, TensorSpec
from limbeck.budget import format_nbytes
from limbeck.engine import compile
from limbeck.errors import EngineError, LimbeckError, MemoryLimitError
from limbeck.memory.process import PeakMeter, give_back, keep_heap_small, limited, usage

BATCH = "batch"
"""The symbolic dimension that the bucket fills."""

_NUM_CALLS = 2
"""The first call allocates, and the second may allocate once more beside it: runtimes learn from the first."""


@dataclass(frozen=True, kw_only=True)
class Profile:
    """What one engine costs at one size. Bytes are of private memory, over the process without the engine.

    Args:
        bucket: Samples in one call.
        load_nbytes: The peak while it is loaded.
        resident_nbytes: What it keeps between two calls.
        run_nbytes: The peak of a call, with what it keeps.
        load_seconds: How long loading takes.
        run_seconds: How long one call takes.
        measured: Whether it was measured, or follows from two other sizes by a straight line.
    """

    bucket: int
    load_nbytes: int
    resident_nbytes: int
    run_nbytes: int
    load_seconds: float
    run_seconds: float
    measured: bool = True

    @property
    def peak_nbytes(self) -> int:
        """The most that it ever takes."""
        return max(self.load_nbytes, self.run_nbytes)


def measure(graph: Graph, backend: Backend, *, sizes: Mapping[str, int], limit_nbytes: int | None = None) -> Profile:
    """What `graph` costs on `backend`.

    Args:
        graph: What to measure.
        backend: What runs it.
        sizes: The size of every symbolic input dimension, "batch" among them.
        limit_nbytes: The private memory that the system shall grant the child; None sets no limit.

    Raises:
        MemoryLimitError: It cannot be loaded or run within `limit_nbytes`, or the system killed the child.
        EngineError: `sizes` lacks a dimension, the backend refuses the graph, or the child died.
    """
    (found,) = measure_each(graph, backend, sizes=[sizes], limit_nbytes=limit_nbytes)
    if isinstance(found, MemoryLimitError):
        raise found
    return found


def measure_each(
    graph: Graph, backend: Backend, *, sizes: Sequence[Mapping[str, int]], limit_nbytes: int | None = None
) -> tuple[Profile | MemoryLimitError, ...]:
    """As `measure` for several sizes, loading once: in rising order, so that nothing larger came before.

    A size that does not fit has its error in the place of a profile, and so have those after it.
    """
    for one in sizes:
        _refuse_unknown(graph, one)
    context = multiprocessing.get_context("spawn")  # a fork would inherit this process's memory
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(theirs, graph, backend, [dict(one) for one in sizes], limit_nbytes))
    child.start()
    theirs.close()
    found: list[Profile | MemoryLimitError] = []
    try:
        while len(found) < len(sizes):
            answer = ours.recv()
            if isinstance(answer, LimbeckError) and not isinstance(answer, MemoryLimitError):
                raise answer
            found.append(answer)
            if isinstance(answer, MemoryLimitError):
                found += [answer] * (len(sizes) - len(found))
    except EOFError:
        child.join()
        found += [_died(graph, child.exitcode, limit_nbytes)] * (len(sizes) - len(found))
    finally:
        ours.close()
        child.join()
    return tuple(found)


def feeds_of(inputs: Sequence[TensorSpec], sizes: Mapping[str, int]) -> dict[str, Array]:
    """Feeds of these sizes: ones, which are valid ids and times too, and cost what real ones cost."""
    return {
        tensor.name: np.ones([sizes[size] if isinstance(size, str) else size for size in tensor.shape], tensor.dtype)
        for tensor in inputs
    }


def _refuse_unknown(graph: Graph, sizes: Mapping[str, int]) -> None:
    free = {size for tensor in graph.spec.inputs for size in tensor.shape if isinstance(size, str)}
    if lacking := sorted(free - sizes.keys()):
        raise EngineError(f"measuring {graph.path} needs a size for {', '.join(lacking)}; got {dict(sizes)}")


def _died(graph: Graph, exit_code: int | None, limit_nbytes: int | None) -> MemoryLimitError:
    under = f" under a limit of {format_nbytes(limit_nbytes)}" if limit_nbytes is not None else ""
    return MemoryLimitError(f"measuring {graph.path} ended its process with code {exit_code}{under}")


def _child(
    answers: Connection,
    graph: Graph,
    backend: Backend,
    sizes: Sequence[Mapping[str, int]],
    limit_nbytes: int | None,
) -> None:
    """Send a profile for each of `sizes`, or the error that ended it."""
    keep_heap_small()
    with limited(limit_nbytes):
        try:
            _measure_here(answers, graph, backend, sizes)
        except LimbeckError as error:
            answers.send(error)
        except (MemoryError, RuntimeError) as error:  # RuntimeError: a thread for which there is no memory
            answers.send(MemoryLimitError(f"{graph.path} does not fit: {error or type(error).__name__}"))


def _measure_here(answers: Connection, graph: Graph, backend: Backend, sizes: Sequence[Mapping[str, int]]) -> None:
    backend.fingerprint()  # imports the runtime, which belongs to the process and not to the engine
    with PeakMeter() as meter:
        empty = usage().private_nbytes
        meter.restart()
        start = time.perf_counter()
        with compile(graph, backend) as engine:
            load_seconds = time.perf_counter() - start
            load_nbytes = meter.peak.private_nbytes - empty
            for one in sizes:
                feeds = feeds_of(graph.spec.inputs, one)
                fed = usage().private_nbytes
                before = empty + sum(array.nbytes for array in feeds.values())
                meter.restart()
                run_seconds = _timed(lambda feeds=feeds: engine.run(feeds))  # type: ignore[misc]
                run_nbytes = max(meter.peak.private_nbytes, fed) - before
                give_back()
                answers.send(
                    Profile(
                        bucket=one[BATCH],
                        load_nbytes=max(load_nbytes, 0),
                        resident_nbytes=max(min(usage().private_nbytes - before, run_nbytes), 0),
                        run_nbytes=max(run_nbytes, 0),
                        load_seconds=load_seconds,
                        run_seconds=run_seconds,
                    )
                )


def _timed(call: Callable[[], object]) -> float:
    """The seconds of the last of a few calls."""
    for _ in range(_NUM_CALLS):
        start = time.perf_counter()
        call()
        seconds = time.perf_counter() - start
    return seconds
