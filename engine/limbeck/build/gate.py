"""`Gate`: is a faster pack still as good for distillation as the one it was made from?

The reference is the pack as it was exported, in float32. A candidate is asked what a distillation method asks of it
(`observe.py`), in stages (`stages.py`), cheap ones first; the first figure beyond its threshold (`thresholds.py`) ends
it. Only what a changed graph can have changed is asked, and what cannot be asked is listed with the reason.

A step cache is judged together with the pack that it runs on, and only by questions that walk, of as many steps as it
needs: asked at a single time, a denoiser with a cache runs whole and would pass whatever the cache does.

    gate = Gate(pack, OnnxRuntime(), questions=some_questions(pack.manifest))
    verdict = gate.judge(candidate, OnnxRuntime())
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from limbeck.backends.base import Backend
from limbeck.build.feeds import normal_feeds, symbolic_sizes
from limbeck.build.observe import Questions
from limbeck.build.observer import Memory, Observer, digest
from limbeck.build.stages import STAGES, Stage
from limbeck.build.thresholds import THRESHOLDS, Metric, Threshold
from limbeck.diffusion.step_cache import StepCache
from limbeck.engine import compile
from limbeck.errors import PackError
from limbeck.pack import Pack, Role
from limbeck_kernels.distances import relative_error

_ALONE_BATCH = 4  # rows on which a graph is compared by itself


@dataclass(frozen=True)
class Measured:
    """One figure with its threshold."""

    found: float
    threshold: Threshold

    @property
    def holds(self) -> bool:
        """Whether the figure is within its threshold."""
        return self.threshold.holds(self.found)


@dataclass(frozen=True)
class Verdict:
    """What the gate says of a candidate.

    Args:
        changed: The roles whose graphs, or whose backend, are not the reference's.
        measured: Every figure with its threshold.
        not_asked: Every other metric, with the reason why it was not asked.
    """

    changed: tuple[Role, ...]
    measured: Mapping[Metric, Measured]
    not_asked: Mapping[Metric, str]

    @property
    def passed(self) -> bool:
        """Every figure holds, and there is at least one if anything changed."""
        return all(one.holds for one in self.measured.values()) and bool(self.measured or not self.changed)

    @property
    def figures(self) -> dict[str, float]:
        """What was found, by metric."""
        return {name: one.found for name, one in self.measured.items()}

    @property
    def limits(self) -> dict[str, float]:
        """The threshold of every figure, by metric."""
        return {name: one.threshold.value for name, one in self.measured.items()}

    @property
    def reason(self) -> str:
        """Why it passed or was refused, in a sentence."""
        if not self.changed:
            return "every graph is the reference's"
        if not self.measured:
            return f"nothing could be asked about {', '.join(self.changed)}"
        broken = [
            f"{name} is {one.found:.3g}, must be {one.threshold.bound} {one.threshold.value:g}"
            for name, one in self.measured.items()
            if not one.holds
        ]
        return "; ".join(broken) or f"all {len(self.measured)} metrics that could be asked hold"


class Gate:
    """Judges candidates against one reference.

    Args:
        reference: The pack in float32.
        backend: What runs it.
        questions: How much is asked. None for a pack that cannot generate: its graphs are then compared output by
            output.
        bucket: Samples in one engine call, for both sides.
        thresholds: What the metrics may be, every one of them.
    """

    def __init__(
        self,
        reference: Pack,
        backend: Backend,
        *,
        questions: Questions | None,
        bucket: int = 16,
        thresholds: Mapping[Metric, Threshold] = THRESHOLDS,
    ) -> None:
        """Nothing is compiled before the first candidate."""
        self._pack = reference
        self._backend = backend
        self._questions = questions
        self._bucket = bucket
        self._thresholds = thresholds
        self._memory: Memory = {}

    def judge(
        self,
        candidate: Pack,
        backend: Backend,
        *,
        step_cache: StepCache | None = None,
        on_stage: Callable[[str], None] = lambda stage: None,
    ) -> Verdict:
        """Compare a candidate with the reference.

        Args:
            candidate: A pack with the same roles, and `shallow` with a step cache.
            backend: What runs it. If it is not the reference's, every graph counts as changed.
            step_cache: With which the candidate denoises. Then only walks are asked, and nothing about graphs beside
                the denoiser's: judge the pack without the cache first.
            on_stage: Called with the name of each stage as it starts.

        Raises:
            ConfigError: The questions' walks are too short for a step cache, or the candidate has no DiT.
            PackError: The candidate has other roles than the reference.
            EngineError: A backend refuses a graph.
        """
        changed = self._changed(candidate, backend, step_cache)
        measured: dict[Metric, float] = {}
        why_not: dict[Metric, str] = {}
        uncovered = set(changed)
        if self._questions is not None:
            for stage in STAGES:
                reason = self._why_not(stage, self._questions, changed, measured, step_cache)
                if reason is None:
                    on_stage(stage.name)
                    measured |= self._ask(stage, self._questions, candidate, backend, step_cache)
                    uncovered -= set(stage.roles)
                why_not |= dict.fromkeys(stage.metrics, reason or "nothing to compare")
        if uncovered and step_cache is None and self._all_hold(measured):
            on_stage("graphs")
            measured["output_error"] = max(self._output_error(role, candidate, backend) for role in sorted(uncovered))
        return Verdict(
            changed,
            {name: Measured(found, self._thresholds[name]) for name, found in measured.items()},
            {name: why_not.get(name, self._default_reason()) for name in THRESHOLDS if name not in measured},
        )

    def _changed(self, candidate: Pack, backend: Backend, step_cache: StepCache | None) -> tuple[Role, ...]:
        own, theirs = self._pack.manifest.graphs, candidate.manifest.graphs
        if {*own, *(("shallow",) if step_cache else ())} != theirs.keys():
            raise PackError(
                f"the packs cannot be compared: '{self._pack.manifest.name}' has the graphs {', '.join(own)}, "
                f"'{candidate.manifest.name}' has {', '.join(theirs)}"
            )
        if step_cache is not None:
            for steps in (self._questions.steps, self._questions.inversion_steps) if self._questions else ():
                step_cache.check_steps(steps)
            return ("trunk", "shallow")
        if (backend.name, backend.fingerprint()) != (self._backend.name, self._backend.fingerprint()):
            return tuple(own)
        return tuple(role for role in own if digest(self._pack, role) != digest(candidate, role))

    def _why_not(
        self,
        stage: Stage,
        questions: Questions,
        changed: tuple[Role, ...],
        measured: Mapping[Metric, float],
        step_cache: StepCache | None,
    ) -> str | None:
        if not set(stage.roles) & set(changed):
            return "none of its graphs changed"
        if step_cache is not None and not stage.walks:
            return "a step cache does not show in it"
        if step_cache is None and stage.only_cached:
            return "there is no step cache"
        if not self._all_hold(measured):
            return "another metric had refused the candidate already"
        return stage.why_not(self._pack.manifest, questions)

    def _ask(
        self, stage: Stage, questions: Questions, candidate: Pack, backend: Backend, step_cache: StepCache | None
    ) -> Mapping[Metric, float]:
        reference = Observer(self._pack, self._backend, questions, bucket=self._bucket, memory=self._memory)
        found = Observer(
            candidate,
            backend,
            questions,
            bucket=self._bucket,
            memory=self._memory,
            reference=reference,
            step_cache=step_cache,
        )
        # one after the other, so that the two packs are not in memory together
        with reference.engines():
            for answer in stage.answers:
                getattr(reference, answer)
        with found.engines():
            return stage.measure(reference, found)

    def _output_error(self, role: Role, candidate: Pack, backend: Backend) -> float:
        """The largest relative error over the outputs of one graph, on seeded normal input."""
        outputs = []
        for pack, runtime in ((self._pack, self._backend), (candidate, backend)):
            graph = pack.graph(role)
            feeds = normal_feeds(graph.spec, symbolic_sizes(pack.manifest, batch=_ALONE_BATCH))
            with compile(graph, runtime) as engine:
                outputs.append(engine.run(feeds))
        expected, found = outputs
        return max(relative_error(found[name], expected[name]) for name in expected)

    def _all_hold(self, measured: Mapping[Metric, float]) -> bool:
        return all(self._thresholds[name].holds(found) for name, found in measured.items())

    def _default_reason(self) -> str:
        if self._questions is None:
            return f"pack '{self._pack.manifest.name}' cannot generate"
        return "better questions could be asked"
