"""Every error limbeck raises on purpose, and the exit code the command line gives it.

    LimbeckError            1   anything that is not one of the kinds below
    ├── ConfigError         2   a setting that cannot work
    │   └── BudgetError         no plan fits the memory budget
    ├── DataError           3   the images: missing, empty, unreadable, too few
    │   ├── UnreadableImagesError
    │   └── SplitsError
    ├── PackError           4   a model pack that is incomplete, foreign or damaged
    ├── EngineError         5   compiling or running a graph
    │   ├── FeedError           wrong names, shapes or dtypes, refused before the runtime sees them
    │   ├── BackendUnavailableError
    │   ├── MemoryLimitError    the runtime could not get the memory it needs
    │   └── QualityError        an engine is not as good as the one it should replace
    ├── ExportError         6   turning a network into a graph
    │   └── ParityError         the graph does not compute what the network does
    ├── OutputError         7   writing the distilled set
    ├── EndpointError       8   a language model on another machine that does not answer
    ├── (limbeck_server.client) ServerError  9   a server that refused, failed or was away
    └── Interrupted       130   stopped by the user at the end of a step

A message says what was asked, what was found and what would work. The figures in it are attributes too,
so that a caller can act without parsing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar


class LimbeckError(Exception):
    """The base of every error that limbeck raises on purpose."""

    exit_code: ClassVar[int] = 1


class ConfigError(LimbeckError):
    """A setting that cannot work, found before anything has run."""

    exit_code = 2


class BudgetError(ConfigError):
    """No way to run the job fits the memory budget; the message says what would."""

    def __init__(self, message: str, *, needed_nbytes: int, budget_nbytes: int, largest_part: str) -> None:
        """Keep the smallest budget that works, the one that was asked, and the part that takes most."""
        self.needed_nbytes = needed_nbytes
        self.budget_nbytes = budget_nbytes
        self.largest_part = largest_part
        super().__init__(message)


class DataError(LimbeckError):
    """The image source is missing, empty, or has too little for what was asked."""

    exit_code = 3


class UnreadableImagesError(DataError):
    """Images that cannot be decoded; `files` names each with its reason."""

    def __init__(self, files: Sequence[tuple[str, str]]) -> None:
        """Keep `files`, pairs of a name and the reason it cannot be read."""
        self.files = tuple(files)
        shown = "".join(f"\n  {name}: {reason}" for name, reason in self.files[:20])
        more = f"\n  … and {len(self.files) - 20} more" if len(self.files) > 20 else ""
        super().__init__(
            f"{len(self.files)} image(s) cannot be read:{shown}{more}\n"
            "repair or remove them; distill and plan leave them out and list them with --skip-unreadable"
        )


class SplitsError(DataError):
    """A source of several splits, of which none was chosen; `splits` are their names."""

    def __init__(self, message: str, splits: Sequence[str]) -> None:
        """Keep the names."""
        self.splits = tuple(splits)
        super().__init__(message)


class PackError(LimbeckError):
    """A model pack that is incomplete, of a foreign format, or damaged."""

    exit_code = 4


class EngineError(LimbeckError):
    """A graph could not be compiled or run."""

    exit_code = 5


class FeedError(EngineError):
    """Feeds with wrong names, shapes or dtypes, refused before the runtime sees them."""


class BackendUnavailableError(EngineError):
    """A backend whose package is not installed, or a provider this machine does not have."""


class MemoryLimitError(EngineError):
    """The runtime could not get the memory it needs: less work at a time, or a smaller engine, may fit."""


class QualityError(EngineError):
    """An engine is not as good as the one it should replace; `figures` and `limits` say by how much, by metric."""

    def __init__(self, message: str, *, figures: Mapping[str, float], limits: Mapping[str, float]) -> None:
        """Keep what was found and what was allowed."""
        self.figures = dict(figures)
        self.limits = dict(limits)
        super().__init__(message)


class ExportError(LimbeckError):
    """A network could not be turned into a graph."""

    exit_code = 6


class ParityError(ExportError):
    """An exported graph does not compute what its network does; `error` says by how much."""

    def __init__(self, message: str, *, error: float, tolerance: float) -> None:
        """Keep the relative error that was measured and the one that is allowed."""
        self.error = error
        self.tolerance = tolerance
        super().__init__(message)


class OutputError(LimbeckError):
    """The distilled set could not be written; what was finished before is kept."""

    exit_code = 7


class EndpointError(LimbeckError):
    """An endpoint that did not answer, or not as it should; what was answered before is kept."""

    exit_code = 8


class Interrupted(LimbeckError):
    """Stopped by the user at the end of a step; what is finished is kept for `--resume`."""

    exit_code = 130
