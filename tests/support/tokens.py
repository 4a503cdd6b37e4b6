"""Token files for a test."""

from __future__ import annotations

from pathlib import Path

from limbeck_server.trust.identity import Quotas, Scope
from limbeck_server.trust.tokens import add_token


def token_file(folder: Path, quotas: Quotas | None = None) -> tuple[Path, dict[str, str]]:
    """A file with a token for every scope, named like it, and the tokens."""
    path = folder / "tokens.toml"
    return path, {scope.value: add_token(path, scope.value, scope, quotas) for scope in Scope}
