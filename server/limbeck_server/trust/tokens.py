"""Bearer tokens, from a file that holds their SHA-256 only and is read again when it changes.

    [tokens.cluster-a]
    sha256 = "9f86d081884c7d65…"
    scope = "submit"
    max_unfinished_jobs = 20
    max_dataset_nbytes = 100_000_000_000
    max_streams = 50

SHA-256 without salt or stretching is enough because a token is 256 random bits that `new_token` made, not a password:
there is nothing to guess from.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import re
import secrets
import stat
import time
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from limbeck.durable import write_whole
from limbeck_server.trust.errors import TokenFileError
from limbeck_server.trust.identity import Identity, Quotas, Scope, including

_log = logging.getLogger(__name__)

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
"""What a token may be called: it is shown in logs and on pages."""

_POLL_SECONDS = 1.0
_MAX_FILE_NBYTES = 4 * 2**20

_Limit = Annotated[int, Field(ge=0)] | None


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    scope: Scope
    owner: Annotated[str, Field(pattern=NAME.pattern)] | None = None
    max_unfinished_jobs: _Limit = None
    max_dataset_nbytes: _Limit = None
    max_streams: _Limit = None

    def identity(self, name: str) -> Identity:
        quotas = Quotas(**self.model_dump(exclude={"sha256", "scope", "owner"}))
        return Identity(self.owner or name, including(self.scope), quotas, name)


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    tokens: dict[str, _Entry]


class TokenFile:
    """The tokens that are good now.

    Args:
        path: The file; a link is followed, so that a mounted secret can be exchanged.
        poll_seconds: The file is looked at when a token is asked for, at most once in that time.
        on_problem: Called whenever a changed file turns out to be unusable.

    A file that becomes unusable changes nothing: the tokens of the last good one stay, `problem` says what is wrong.

    Raises:
        TokenFileError: The file is unusable at the start.
    """

    def __init__(
        self, path: Path, *, poll_seconds: float = _POLL_SECONDS, on_problem: Callable[[], None] = lambda: None
    ) -> None:
        self._path = path
        self._poll_seconds = poll_seconds
        self._on_problem = on_problem
        self.problem = ""
        self._version = _version(path)
        self._identities = read_tokens(path)
        self._looked_at = time.monotonic()

    def identify(self, token: str) -> Identity | None:
        """Whose token that is; None if nobody's. How long it takes does not depend on how much of it is right."""
        self._look()
        digest = _digest(token)
        found = None
        for known, identity in self._identities.items():
            if hmac.compare_digest(known, digest):
                found = identity
        return found

    def _look(self) -> None:
        now = time.monotonic()
        if now - self._looked_at < self._poll_seconds:
            return
        self._looked_at = now
        version = _version(self._path)
        if version == self._version:
            return
        self._version = version
        try:
            self._identities = read_tokens(self._path)
        except TokenFileError as error:
            self.problem = str(error)
            _log.error("tokens_unusable path=%s kept=%d error=%s", self._path, len(self._identities), error)
            self._on_problem()
        else:
            self.problem = ""
            _log.info("tokens_read path=%s tokens=%d", self._path, len(self._identities))


def new_token() -> str:
    """256 random bits as text. Nobody but its owner should ever keep it."""
    return f"limbeck_{secrets.token_urlsafe(32)}"


def add_token(path: Path, name: str, scope: Scope, quotas: Quotas | None = None, owner: str | None = None) -> str:
    """Add a new token to a token file, which is made if it is not there, and return the token: it is kept nowhere.

    Args:
        path: The file.
        name: What it is called.
        scope: What it allows.
        quotas: What its owner may have at a time.
        owner: Whose things it makes and sees; None is itself. A token that only reads needs one that makes.

    Raises:
        TokenFileError: The name is taken or cannot be one, or the file is unusable.
    """
    if not NAME.fullmatch(name) or not NAME.fullmatch(owner or name):
        raise TokenFileError(
            f"token name {name!r} and owner {owner or name!r} must be 1 to 63 letters, digits, '.', '_' or '-'"
        )
    text = ""
    if path.exists():
        if name in {identity.token for identity in read_tokens(path).values()}:
            raise TokenFileError(
                f"{path} has a token named '{name}' already; remove its section, or choose another name"
            )
        text = path.read_text("utf-8").rstrip() + "\n\n"
    token = new_token()
    lines = [f'[tokens."{name}"]', f'sha256 = "{_digest(token)}"', f'scope = "{scope}"']
    lines += [f'owner = "{owner}"'] if owner else []
    lines += [f"{limit} = {value}" for limit, value in vars(quotas or Quotas()).items() if value is not None]
    write_whole(path, (text + "\n".join(lines) + "\n").encode())
    return token


def read_tokens(path: Path) -> Mapping[str, Identity]:
    """Every token's SHA-256 and identity.

    Raises:
        TokenFileError: The file cannot be read, may be written by anybody, or says something impossible.
    """
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if status.st_mode & stat.S_IWOTH:
                raise TokenFileError(f"{path} may be written by every user of this machine; run chmod o-w on it")
            if status.st_size > _MAX_FILE_NBYTES:
                raise TokenFileError(f"{path} has {status.st_size:,} bytes, more than {_MAX_FILE_NBYTES:,}")
            content = file.read(_MAX_FILE_NBYTES)
        entries = _File.model_validate(tomllib.loads(content.decode())).tokens
    except OSError as error:
        raise TokenFileError(f"cannot read the tokens in {path}: {error.strerror}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise TokenFileError(f"{path} is not a TOML file: {error}") from error
    except ValidationError as error:
        # The values are left out of the message: a secret may stand in the wrong place.
        found = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()[:5])
        raise TokenFileError(f"{path} does not describe tokens: {found}") from error
    for name in entries:
        if not NAME.fullmatch(name):
            raise TokenFileError(f"{path}: token name {name!r} must be 1 to 63 letters, digits, '.', '_' or '-'")
    identities = {entry.sha256: entry.identity(name) for name, entry in entries.items()}
    if len(identities) < len(entries):
        raise TokenFileError(f"{path} gives one token to two names")
    return identities


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def _version(path: Path) -> tuple[int, ...]:
    try:
        status = path.stat()
    except OSError:
        return ()
    return status.st_ino, status.st_mtime_ns, status.st_size
