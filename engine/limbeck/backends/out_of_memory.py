"""Which of a runtime's errors mean that memory ran out; runtimes have no class for it, only words."""

from __future__ import annotations

from limbeck.errors import EngineError, MemoryLimitError

_WORDS = (
    "bad_alloc",
    "bad allocation",
    "failed to allocate",
    "out of memory",
    "outofmemory",
    "not enough memory",
    "cannot allocate memory",
    "could not create a memory object",
    "bfcarena",
    "available memory of",
    "alloc_failed",
    "errormemoryallocation",
)


def runtime_error(what: str, error: Exception) -> EngineError:
    """The error to raise for one of a runtime's: `what` failed, and the runtime's own words.

    Returns:
        A `MemoryLimitError` if the words say that memory ran out, otherwise an `EngineError`.
    """
    text = str(error).lower()
    if isinstance(error, MemoryError) or any(word in text for word in _WORDS):
        return MemoryLimitError(f"{what}: memory ran out; {error}\nuse a smaller bucket or a larger budget")
    return EngineError(f"{what}: {error}")
