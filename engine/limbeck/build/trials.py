"""One candidate for one role: what was written, what was measured of it, and what becomes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from limbeck.backends.base import Backend
from limbeck.budget import format_nbytes
from limbeck.build.gate import Verdict
from limbeck.build.timing import Timing
from limbeck.memory.profile import Profile
from limbeck.pack import BuildTrial, GraphEntry, Pack, Role

FASTER = 0.95
"""A candidate must take at most this part of the float32 graph's time: timings of one graph differ by a few percent,
and what is no faster is not worth any error."""


@dataclass(frozen=True)
class Candidate:
    """A graph in another precision, as measured beside the float32 one.

    Args:
        role: Of the graph.
        entry: As the manifest will list it.
        pack: The pack with this graph in the place of the role's.
        nbytes: Size of its files.
        timing: Seconds of one call.
        beside: Seconds of a call of the float32 graph in the same rounds.
        profile: Its memory; None where it could not be measured within the budget.
    """

    role: Role
    entry: GraphEntry
    pack: Pack
    nbytes: int
    timing: Timing
    beside: Timing
    profile: Profile | None

    @property
    def ratio(self) -> float:
        """Its time as a part of the float32 graph's, by medians."""
        return self.timing.median / self.beside.median

    def fits(self, budget_nbytes: int | None) -> bool:
        """Whether it loads and runs within the budget."""
        return budget_nbytes is None or (self.profile is not None and self.profile.peak_nbytes <= budget_nbytes)

    def trial(
        self, backend: Backend, *, kept: bool, reason: str, budget_nbytes: int | None, verdict: Verdict | None = None
    ) -> BuildTrial:
        """For the manifest: what was measured, and the limits under the same names."""
        return BuildTrial(
            role=self.role,
            backend=backend.name,
            precision=self.entry.precision,
            recipe=self.entry.recipe,
            kept=kept,
            reason=reason,
            figures={**self._figures(), **(finite(verdict.figures) if verdict else {})},
            limits={
                "time_ratio": FASTER,
                **({"peak_nbytes": float(budget_nbytes)} if budget_nbytes is not None else {}),
                **(verdict.limits if verdict else {}),
            },
        )

    def too_large(self, budget_nbytes: int) -> str:
        """Why it does not fit, in a sentence."""
        found = "more" if self.profile is None else format_nbytes(self.profile.peak_nbytes)
        return f"takes {found}, the budget is {format_nbytes(budget_nbytes)}"

    def _figures(self) -> dict[str, float]:
        memory = (
            {"peak_nbytes": float(self.profile.peak_nbytes), "resident_nbytes": float(self.profile.resident_nbytes)}
            if self.profile
            else {}
        )
        return {
            "seconds": self.timing.median,
            "seconds_best": self.timing.best,
            "fp32_seconds": self.beside.median,
            "time_ratio": self.ratio,
            "file_nbytes": float(self.nbytes),
            "output_error_on_normal_input": self.entry.parity,
            **memory,
        }


def finite(figures: Mapping[str, float]) -> dict[str, float]:
    """Figures as JSON can hold them: what is infinite becomes the largest number there is."""
    return {name: max(min(found, _LARGEST), -_LARGEST) for name, found in figures.items()}


_LARGEST = 1e308
