"""`Builder`: the state of one build, a role at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TypeAlias

from limbeck.backends.base import Backend, Graph
from limbeck.budget import format_nbytes
from limbeck.build.candidates import Writers, tried
from limbeck.build.effort import choose_questions
from limbeck.build.feeds import normal_feeds, symbolic_sizes
from limbeck.build.gate import Gate, Verdict
from limbeck.build.options import BuildOptions
from limbeck.build.placing import with_graph, without_unused, written
from limbeck.build.step_cache import cut_figures, with_cut
from limbeck.build.thresholds import THRESHOLDS, Metric, Threshold
from limbeck.build.timing import compare
from limbeck.build.trials import FASTER, Candidate, finite
from limbeck.diffusion.step_cache import StepCache
from limbeck.errors import BudgetError, ConfigError, EngineError, ExportError, MemoryLimitError, QualityError
from limbeck.memory.profile import Profile, measure
from limbeck.pack import BuildTrial, Pack, PackManifest, Role
from limbeck.precision import PrecisionName
from limbeck_kernels.distances import relative_error

OnStep: TypeAlias = Callable[[str, int, int], None]
"""Called with a stage's name, and how many of how many parts of it are done."""


class Builder:
    """Works on a folder that has every file of the source.

    Args:
        source: The float32 pack, in the new folder.
        backend: What will run the pack.
        reference: What runs the source as the gate's reference.
        options: What to build.
        on_step: Progress.
        thresholds: Of the quality gate.
    """

    def __init__(
        self,
        source: Pack,
        backend: Backend,
        reference: Backend,
        options: BuildOptions,
        on_step: OnStep,
        *,
        thresholds: Mapping[Metric, Threshold] = THRESHOLDS,
    ) -> None:
        """Start from the source as it is."""
        self._source = source
        self._best = source
        self._backend = backend
        self._reference = reference
        self._options = options
        self._thresholds = thresholds
        self._on_step = on_step
        self._trials: list[BuildTrial] = []
        self._refused: Verdict | None = None
        self._impossible: ConfigError | EngineError | None = None
        self._writers = Writers(source, backend, reference, seed=options.seed)

    def judge_backend(self) -> None:
        """Put the source itself before the gate, if the backend is not the reference's.

        Raises:
            QualityError: It is refused: the backend computes too coarsely, whatever the graphs.
        """
        if self._backend.fingerprint() == self._reference.fingerprint() and self._backend.name == self._reference.name:
            return
        verdict = self._judge(self._source)
        if not verdict.passed:
            raise QualityError(
                f"the {self._backend.name} backend ({self._backend.fingerprint()}) is refused for this pack as it is: "
                f"{verdict.reason}; use other settings of it, or onnxruntime",
                figures=verdict.figures,
                limits=verdict.limits,
            )

    def build(self, role: Role) -> None:
        """Try the precisions of one role, and keep the best.

        Raises:
            BudgetError: Neither the float32 graph nor any candidate fits the budget.
        """
        asked = self._options.precision
        names = tried(self._backend) if asked == "auto" else () if asked == "fp32" else (asked,)
        candidates = []
        for done, name in enumerate(names):
            self._on_step(role, done, len(names) + 1)
            candidate = self._written(role, name)
            if candidate is not None:
                candidates.append(candidate)
        self._on_step(role, len(names), len(names) + 1)
        original = self._profile(self._source.graph(role)) if self._options.budget_nbytes is not None else None
        fits = self._options.budget_nbytes is None or _fits(original, self._options.budget_nbytes)
        kept = self._keep_one(candidates, must_be_faster=fits and asked == "auto")
        if not kept and not fits:
            raise self._too_large(role, [original, *(candidate.profile for candidate in candidates)])
        self._on_step(role, len(names) + 1, len(names) + 1)

    def refuse_nothing_kept(self) -> None:
        """Where a precision was asked for by name: raise unless it was kept for some graph.

        Raises:
            QualityError: The gate refused it, or it does not fit the budget.
            ConfigError, EngineError: No graph can be written in it.
        """
        if self._options.precision in ("auto", "fp32") or any(trial.kept for trial in self._trials):
            return
        if self._refused is None and self._impossible is not None:
            raise self._impossible
        verdict = self._refused
        raise QualityError(
            f"{self._options.precision} is refused for every graph, last because {self._trials[-1].reason}; "
            "try --precision auto, which keeps what passes",
            figures=verdict.figures if verdict else {},
            limits=verdict.limits if verdict else {},
        )

    def try_step_cache(self, cache: StepCache) -> None:
        """Cut the trunk, and keep that if the gate accepts the cache on it; otherwise the pack stays as it is."""
        self._on_step("step cache", 0, 1)
        figures: Mapping[str, float] = {}
        verdict = None
        try:
            pack = with_cut(self._best, self._source, self._writers)
            options = self._options
            figures = cut_figures(
                pack, self._best, self._backend, cache, bucket=options.bucket, seconds=options.timing_seconds
            )
            gate = self._make_gate(least_steps=cache.MIN_STEPS)
            verdict = gate.judge(pack, self._backend, step_cache=cache, on_stage=self._tell_stage)
            reason = verdict.reason
        except (ConfigError, EngineError, ExportError) as error:
            reason = self._not_possible(error)
        kept = verdict is not None and verdict.passed
        self._trials.append(
            BuildTrial(
                role="shallow",
                backend=self._backend.name,
                precision=self._best.manifest.graphs["trunk"].precision,
                recipe=dict(cache.recipe),
                kept=kept,
                reason=reason,
                figures=finite({**figures, **(verdict.figures if verdict else {})}),
                limits=verdict.limits if verdict else {},
            )
        )
        if kept:
            self._best = pack
        self._on_step("step cache", 1, 1)

    def manifest(self, name: str) -> PackManifest:
        """The new pack's manifest: graphs that were kept, with their files, and every trial."""
        found = self._best.manifest.model_copy(update={"name": name, "trials": tuple(self._trials)})
        return without_unused(found, self._source.manifest)

    def _written(self, role: Role, name: PrecisionName) -> Candidate | None:
        """A candidate with its measurements; None, with a trial that says why, where it cannot be had."""
        try:
            return self._measured(role, name)
        except (ConfigError, EngineError) as error:  # not what stops the build: a damaged source, a full disk
            self._note_impossible(role, name, error)
            return None

    def _note_impossible(self, role: Role, name: PrecisionName, error: ConfigError | EngineError) -> None:
        self._impossible = error
        reason = self._not_possible(error)
        self._trials.append(
            BuildTrial(role=role, backend=self._backend.name, precision=name, kept=False, reason=reason)
        )

    def _not_possible(self, error: Exception) -> str:
        folder = f"{self._source.folder}{os.sep}"  # it has another name at the end
        return f"not possible: {str(error).replace(folder, '')}"

    def _measured(self, role: Role, name: PrecisionName) -> Candidate:
        original = self._source.graph(role)
        pack = self._in(role, name)
        graph = pack.graph(role)
        sizes = symbolic_sizes(pack.manifest, batch=self._options.bucket)
        timings, outputs = compare(
            [original, graph],
            self._backend,
            normal_feeds(graph.spec, sizes),
            seconds=self._options.timing_seconds,
        )
        error = max(relative_error(outputs[1][output], outputs[0][output]) for output in outputs[0])
        if error == 0:
            raise EngineError(f"the {role} computes the same as before; it has no layer that {name} applies to")
        entry = pack.manifest.graphs[role].model_copy(update=finite({"parity": error}))
        return Candidate(
            role=role,
            entry=entry,
            pack=Pack(pack.folder, pack.manifest.model_copy(update={"graphs": {**pack.manifest.graphs, role: entry}})),
            nbytes=sum(pack.manifest.files[file].nbytes for file in (entry.file, *entry.external)),
            timing=timings[1],
            beside=timings[0],
            profile=self._profile(graph),
        )

    def _in(self, role: Role, name: PrecisionName) -> Pack:
        """The best pack so far with the role's graph in precision `name`, written now."""
        original = self._source.graph(role).path
        out = original.with_name(f"model.{name}.onnx")
        recipe = self._writers.write(name, role, original, out)
        update = {"precision": name, "recipe": recipe}
        return with_graph(self._best, role, self._source.manifest.graphs[role].model_copy(update=update), written(out))

    def _keep_one(self, candidates: list[Candidate], *, must_be_faster: bool) -> bool:
        """Judge from the fastest on until one passes; whether one did."""
        kept: Candidate | None = None
        for candidate in sorted(candidates, key=lambda one: one.ratio):
            verdict = None
            if kept is not None:
                reason = f"{kept.entry.precision} is faster and passes"
            elif not candidate.fits(self._options.budget_nbytes):
                reason = candidate.too_large(self._options.budget_nbytes or 0)
            elif must_be_faster and candidate.ratio > FASTER:
                reason = f"takes {candidate.ratio:.2f} of the time of fp32; only below {FASTER} is worth an error"
            else:
                verdict = self._judge(candidate.pack)
                reason = verdict.reason
                kept = candidate if verdict.passed else None
                self._refused = self._refused if verdict.passed else verdict
            self._trials.append(
                candidate.trial(
                    self._backend,
                    kept=candidate is kept,
                    reason=reason,
                    budget_nbytes=self._options.budget_nbytes,
                    verdict=verdict,
                )
            )
        if kept is not None:
            self._best = kept.pack
        return kept is not None

    def _judge(self, pack: Pack) -> Verdict:
        return self._gate.judge(pack, self._backend, on_stage=self._tell_stage)

    def _tell_stage(self, stage: str) -> None:
        self._on_step(f"gate: {stage}", 0, 1)

    @cached_property
    def _gate(self) -> Gate:
        return self._make_gate()

    def _make_gate(self, *, least_steps: int = 1) -> Gate:
        options = self._options
        questions = choose_questions(
            self._source.manifest,
            row_seconds=self._row_seconds,
            seconds=options.gate_seconds,
            quick=options.quick,
            seed=options.seed,
            least_steps=least_steps,
        )
        return Gate(
            self._source, self._reference, questions=questions, bucket=options.bucket, thresholds=self._thresholds
        )

    @cached_property
    def _row_seconds(self) -> float:
        """What a row of the float32 trunk takes; 0 where there is none."""
        options, manifest = self._options, self._source.manifest
        if "trunk" not in manifest.graphs:
            return 0.0
        graph = self._source.graph("trunk")
        feeds = normal_feeds(graph.spec, symbolic_sizes(manifest, batch=options.bucket))
        (timing,), _ = compare([graph], self._reference, feeds, seconds=options.timing_seconds)
        return timing.median / options.bucket

    def _profile(self, graph: Graph) -> Profile | None:
        sizes = symbolic_sizes(self._source.manifest, batch=self._options.bucket)
        try:
            return measure(graph, self._backend, sizes=sizes, limit_nbytes=None)
        except MemoryLimitError:
            return None

    def _too_large(self, role: Role, profiles: list[Profile | None]) -> BudgetError:
        budget = self._options.budget_nbytes
        assert budget is not None, "without a budget everything fits"
        least = min((profile.peak_nbytes for profile in profiles if profile is not None), default=budget + 1)
        return BudgetError(
            f"no precision of the {role} fits {format_nbytes(budget)} and passes the quality gate; the smallest that "
            f"was tried takes {format_nbytes(least)} at bucket {self._options.bucket}: "
            "raise --budget, or lower --bucket",
            needed_nbytes=least,
            budget_nbytes=budget,
            largest_part=role,
        )


def _fits(profile: Profile | None, budget_nbytes: int) -> bool:
    return profile is not None and profile.peak_nbytes <= budget_nbytes
