"""Who calls, known everywhere below an RPC without being passed along."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum


class Scope(StrEnum):
    """What a token allows. Each scope includes those before it."""

    READ = "read"  # see one's own jobs, datasets and sets
    SUBMIT = "submit"  # make and end them, and run engines
    ADMIN = "admin"  # see everybody's; load and unload engines


ALL_SCOPES = frozenset(Scope)


@dataclass(frozen=True, kw_only=True)
class Quotas:
    """What one caller may have at a time; None is no limit.

    Args:
        max_unfinished_jobs: Jobs that are not final; the store holds it.
        max_dataset_nbytes: Bytes of all its datasets; the store holds it.
        max_streams: Streaming RPCs that are open at the same time.
    """

    max_unfinished_jobs: int | None = None
    max_dataset_nbytes: int | None = None
    max_streams: int | None = None


@dataclass(frozen=True)
class Identity:
    """A caller.

    Args:
        name: Who owns what it makes, and whose things it sees; "" where no tokens are asked for.
        scopes: All that it may, those that others include too.
        quotas: What it may have at a time.
    """

    name: str
    scopes: frozenset[str]
    quotas: Quotas = Quotas()
    token: str = ""
    """The name of its token; several may have one owner."""

    @property
    def is_admin(self) -> bool:
        """Whether it sees what belongs to others."""
        return Scope.ADMIN in self.scopes


ANYBODY = Identity("", ALL_SCOPES)
"""The caller of a server that asks for no tokens."""

_current: ContextVar[Identity] = ContextVar("limbeck_identity", default=ANYBODY)


def current() -> Identity:
    """Who made the call that this code serves."""
    return _current.get()


def act_as(identity: Identity) -> None:
    """Serve the rest of this task, and the tasks that it starts, for `identity`."""
    _current.set(identity)


def including(scope: Scope) -> frozenset[str]:
    """A scope and those that it includes."""
    order = list(Scope)
    return frozenset(order[: order.index(scope) + 1])
