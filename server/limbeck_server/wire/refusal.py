"""`Refusal`: why a call was refused, as the wire says it, from either side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import grpc

from limbeck.errors import ConfigError, LimbeckError

Code: TypeAlias = grpc.StatusCode
"""The canonical codes."""

DOMAIN = "limbeck"
"""Of every reason (`google.rpc.ErrorInfo.domain`)."""


@dataclass(frozen=True)
class Violation:
    """One field of a request that cannot work.

    Args:
        field: Its path in the request, such as "distill.settings.num_steps".
        description: What is wrong with it.
    """

    field: str
    description: str


@dataclass(frozen=True)
class Refusal:
    """Why a call was refused.

    Args:
        code: The canonical code, for any client.
        reason: A word in UPPER_SNAKE_CASE, for clients that know limbeck.
        message: For people: what was asked, what was found, what would work.
        metadata: Figures of the message, by name.
        violations: Which fields of the request are wrong.
        retry_seconds: When the same call may succeed; None if repeating it as it is does not help.
    """

    code: Code
    reason: str
    message: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    violations: Sequence[Violation] = ()
    retry_seconds: float | None = None


class RefusedError(LimbeckError):
    """A call that is refused with the code and the reason that whoever raises it has chosen."""

    def __init__(self, refusal: Refusal) -> None:
        """Keep the refusal."""
        self.refusal = refusal
        super().__init__(refusal.message)


class RequestError(ConfigError):
    """A request with fields that cannot work; `violations` names each."""

    def __init__(self, *violations: Violation) -> None:
        """Keep the violations, at least one."""
        self.violations = violations
        super().__init__("; ".join(f"{one.field}: {one.description}" for one in violations))
