"""How fast two graphs are beside each other, on a machine that does other things too."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median

from limbeck.arrays import Array
from limbeck.backends.base import Backend, Graph
from limbeck.engine import compile

_FEWEST_ROUNDS, _MOST_ROUNDS = 3, 50


@dataclass(frozen=True)
class Timing:
    """Seconds of one call of a graph, over the rounds."""

    median: float
    best: float


def compare(
    graphs: Sequence[Graph], backend: Backend, feeds: Mapping[str, Array], *, seconds: float
) -> tuple[list[Timing], list[Mapping[str, Array]]]:
    """Time calls of every graph in turn, so that what slows the machine slows them all.

    Args:
        graphs: All are loaded together.
        backend: What runs them.
        feeds: What they are called with, each with those of its inputs.
        seconds: About how long to go on; three rounds at least, after one that is not counted.

    Returns:
        The timing of each graph, and its outputs.

    Raises:
        EngineError: The backend refuses a graph.
    """
    with ExitStack() as stack:
        engines = [stack.enter_context(compile(graph, backend)) for graph in graphs]
        fed = [{tensor.name: feeds[tensor.name] for tensor in graph.spec.inputs} for graph in graphs]
        calls = list(zip(engines, fed, strict=True))
        outputs = [engine.run(own) for engine, own in calls]  # the first call also allocates
        rounds: list[list[float]] = []
        start = time.perf_counter()
        while len(rounds) < _FEWEST_ROUNDS or (time.perf_counter() - start < seconds and len(rounds) < _MOST_ROUNDS):
            rounds.append([_call_seconds(engine.run, own) for engine, own in calls])
    return [Timing(median(times), min(times)) for times in zip(*rounds, strict=True)], list(outputs)


def _call_seconds(run: Callable[[Mapping[str, Array]], object], feeds: Mapping[str, Array]) -> float:
    start = time.perf_counter()
    run(feeds)
    return time.perf_counter() - start
