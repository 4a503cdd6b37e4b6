"""Which nodes must stay in float32: found by running the graph on real feeds and looking at its numbers.

A node is an island where 16 bits would not do, for one of three reasons:

    range          a value that it reads or gives comes near the end of the type: 65504 in float16
    accumulation   a sum inside it does: of products, of squares, of what a mean divides
    loss           rounding what it reads changes what it gives by much more than one rounding

For a loss the cause may lie further up: the sine of a rounded angle is wrong however it is computed. So the island
grows upwards, until rounding what enters it no longer hurts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import onnx_ir as ir

from limbeck.arrays import Array
from limbeck.errors import ConfigError
from limbeck.quantize.accumulation import accumulated, attention_weights, is_attention
from limbeck.quantize.element_types import Half, HalfName, computes_in, float_values, half, label, refuse_subgraphs
from limbeck.quantize.graph_file import constant, open_graph
from limbeck.quantize.instrument import Instrumented, Probes


@dataclass(frozen=True, kw_only=True)
class IslandLimits:
    """What makes an island.

    Args:
        headroom: How many times a value must fit into the type's range: other inputs than the probed reach further.
        roundings: The relative L2 change of a node's result that is allowed, in roundings of one value. Sums over
            rounded terms measure about 1, with cancellation a few.
        depth: How many nodes an island may grow upwards before it is left as it is.
        weights_nbytes: The most weights, in float32, that are looked at in one run: what is computed of them takes
            three times that. More runs are made for larger graphs.

    Raises:
        ConfigError: A headroom or a number of roundings below 1, or a depth below 0.
    """

    headroom: float = 4.0
    roundings: float = 16.0
    depth: int = 6
    weights_nbytes: int = 512 * 2**20

    def __post_init__(self) -> None:
        """Reject limits under which everything, or nothing, is an island."""
        if not (self.headroom >= 1 and self.roundings >= 1 and self.depth >= 0):
            raise ConfigError(
                f"headroom and roundings must be at least 1 and depth at least 0, got {self.headroom}, "
                f"{self.roundings} and {self.depth}"
            )


@dataclass(frozen=True)
class Island:
    """A node that must stay in float32, and why."""

    node: str
    reason: str


def find_islands(
    graph: Path,
    feeds: Iterable[Mapping[str, Array]],
    *,
    dtype: HalfName = "float16",
    limits: IslandLimits | None = None,
) -> tuple[Island, ...]:
    """The islands of `graph` in `dtype`, in the graph's order, over all `feeds`.

    Values that are infinite in float32 too, such as masks, are no reason. Memory: the graph in float32, three times
    `limits.weights_nbytes`, and the values that ONNX Runtime keeps between nodes.

    Raises:
        ConfigError: No feeds, or a graph with nested graphs.
        EngineError: ONNX Runtime cannot run the graph.
    """
    return _Search(graph, tuple(feeds), half(dtype), limits or IslandLimits()).run()


class _Search:
    def __init__(self, path: Path, feeds: Sequence[Mapping[str, Array]], kind: Half, limits: IslandLimits) -> None:
        if not feeds:
            raise ConfigError("islands are found by running the graph; give at least one set of feeds")
        self._path = path
        self._feeds = feeds
        self._kind = kind
        self._limits = limits
        self._reasons: dict[str, str] = {}

    def run(self) -> tuple[Island, ...]:
        self._by_range()
        self._by_loss()
        return tuple(
            Island(name, self._reasons[name]) for name in _View(self._path, self._kind).nodes if name in self._reasons
        )

    def _by_range(self) -> None:
        """Find what comes near the end of the type, from outside and inside of the nodes."""
        for names in self._portions(_View(self._path, self._kind).nodes):
            view = _View(self._path, self._kind)
            touching: dict[str, list[str]] = {}
            for name in names:
                for what, reach in view.reaches(name):
                    if what not in touching:
                        view.probes.read(what, reach())
                    touching.setdefault(what, []).append(name)
            for what, largest in self._measured(view).items():
                if math.isfinite(largest) and largest * self._limits.headroom > self._kind.largest:
                    shown = f"{what} reaches {largest:.3g}, {self._kind.name} ends at {self._kind.largest:.3g}"
                    self._reasons |= {name: self._reasons.get(name, shown) for name in touching[what]}

    def _portions(self, names: Iterable[str]) -> Iterator[list[str]]:
        """Nodes that may be looked at in one run."""
        nodes = _View(self._path, self._kind).nodes
        portion: list[str] = []
        used = 0
        for name in names:
            nbytes = sum(4 * weight.size for value in nodes[name].inputs if (weight := constant(value)) is not None)
            if portion and used + nbytes > self._limits.weights_nbytes:
                yield portion
                portion, used = [], 0
            portion.append(name)
            used += nbytes
        if portion:
            yield portion

    def _by_loss(self) -> None:
        """Find what rounding hurts, and grow an island there until what enters it does not."""
        ranged = frozenset(self._reasons)
        nodes = _View(self._path, self._kind).nodes
        losses = self._losses({name: ranged & {name} for name in nodes}, ranged)
        lossy = {name: loss for name, loss in losses.items() if self._is_too_much(loss)}
        growing = {name: frozenset([name]) for name in lossy}
        for _ in range(self._limits.depth + 1):
            losses = self._losses(growing, ranged)
            for name, island in growing.items():
                if not self._is_too_much(losses[name]):
                    self._settle(name, island, lossy[name])
            growing = {name: island for name, island in growing.items() if self._is_too_much(losses[name])}
            wider = self._widened(growing)
            if wider == growing:
                break
            growing = wider
        for name, island in growing.items():
            self._settle(name, island, lossy[name])

    def _settle(self, name: str, island: Iterable[str], loss: float) -> None:
        shown = f"rounding what '{name}' reads to {self._kind.name} changes its result by {loss:.2g}"
        for node in island:
            self._reasons.setdefault(node, shown)

    def _is_too_much(self, loss: float) -> bool:
        return not loss <= self._limits.roundings * self._kind.rounding

    def _widened(self, islands: Mapping[str, frozenset[str]]) -> dict[str, frozenset[str]]:
        view = _View(self._path, self._kind)
        return {name: island | view.makers(island) for name, island in islands.items()}

    def _losses(self, islands: Mapping[str, frozenset[str]], ranged: frozenset[str]) -> dict[str, float]:
        """The relative L2 change of each named node's results if only it and its island see rounded values.

        An empty island is the node in 16 bits, its weights rounded too.
        """
        losses = dict.fromkeys(islands, 0.0)
        for names in self._portions(islands):
            view = _View(self._path, self._kind)
            for name in names:
                for place, (exact, rounded) in enumerate(view.pairs(name, islands[name] and islands[name] | ranged)):
                    change = view.probes.op("Sub", rounded, exact)
                    view.probes.read(f"{place} change {name}", view.probes.squares(change))
                    view.probes.read(f"{place} size {name}", view.probes.squares(exact))
            measured = self._measured(view)
            for what, squares in measured.items():
                number, figure, name = what.split(" ", 2)
                size = measured[f"{number} size {name}"]
                if figure == "change" and math.isfinite(size) and squares:
                    losses[name] = max(losses[name], math.sqrt(squares / size) if size else math.inf)
        return losses

    def _measured(self, view: _View) -> dict[str, float]:
        """The largest of each read scalar over the feeds; infinite where it is not a number."""
        model, names = view.probes.finish()
        with Instrumented(model, self._path.parent) as session:
            runs = [session.run(feeds) for feeds in self._feeds]
        return {what: max(_number(run[name]) for run in runs) for what, name in names.items()}


class _View:
    """The graph, opened anew, with the nodes that can compute in the type, by name, and probes to be added."""

    def __init__(self, path: Path, kind: Half) -> None:
        model = open_graph(path)
        refuse_subgraphs(model)
        self._kind = kind
        self._floats = float_values(model)
        self.nodes = {label(node): node for node in model.graph if computes_in(model, node, kind, self._floats)}
        self._names = {node: name for name, node in self.nodes.items()}
        self.probes = Probes(model)
        self._rounded: dict[ir.Value, ir.Value] = {}

    def reaches(self, name: str) -> Iterator[tuple[str, Callable[[], ir.Value]]]:
        """What of a node must fit into the type, and how to make a scalar of how far it reaches."""
        node = self.nodes[name]
        used = [value for value in node.outputs if value.uses() or value.is_graph_output()]
        for value in (*node.inputs, *used):
            if value is not None and value in self._floats:
                yield f"value '{value.name}'", partial(self.probes.largest, value)
        inside = accumulated(self.probes, node)
        if inside is not None:
            yield f"a sum inside '{name}'", lambda: inside

    def makers(self, island: Iterable[str]) -> frozenset[str]:
        """The nodes whose results enter an island."""
        values = [value for name in island for value in self.nodes[name].inputs if value is not None]
        return frozenset(self._names[maker] for value in values if (maker := value.producer()) in self._names)

    def pairs(self, name: str, island: frozenset[str]) -> Iterator[tuple[ir.Value, ir.Value]]:
        """The results of a node, and the same when the values that enter the island are rounded."""
        node = self.nodes[name]
        again: dict[ir.Value, ir.Value] = {}
        for each in self._upstream(node, island):
            inputs = [value and again.get(value, self._seen(value, bool(island))) for value in each.inputs]
            copy = ir.node(
                each.op_type, inputs, dict(each.attributes), domain=each.domain, num_outputs=len(each.outputs)
            )
            again.update(zip(each.outputs, self.probes.add(copy), strict=True))
        for value in node.outputs:
            if value in self._floats and (value.uses() or value.is_graph_output()):
                yield value, again[value]
        if is_attention(node) and not island:
            yield attention_weights(self.probes, node), attention_weights(self.probes, node, self._kind.dtype)

    def _upstream(self, node: ir.Node, island: frozenset[str]) -> list[ir.Node]:
        """`node` and those of the island that it depends on, in the graph's order."""
        found, waiting = {node}, [node]
        while waiting:
            makers = (value.producer() for value in waiting.pop().inputs if value is not None)
            new = {maker for maker in makers if maker in self._names and self._names[maker] in island} - found
            found |= new
            waiting.extend(new)
        return [each for each in self.nodes.values() if each in found]

    def _seen(self, value: ir.Value, from_island: bool) -> ir.Value:
        """`value` as a node gets it: rounded, but for what an island gets in float32 anyway."""
        exact = value not in self._floats or (from_island and value.producer() not in self._names)
        if exact:
            return value
        if value not in self._rounded:
            self._rounded[value] = self.probes.rounded(value, self._kind.dtype)
        return self._rounded[value]


def _number(scalar: Array) -> float:
    return math.inf if math.isnan(scalar.item()) else float(scalar.item())
