"""What a Dockerfile says, as data: its stages and their instructions in order.

Reads the part of the language that limbeck's Dockerfiles are written in, and refuses the rest, so that nothing is
skipped unseen: no here-documents, no ARG, no `RUN --mount`, no SHELL, no ONBUILD.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

KEYWORDS = frozenset(
    {"FROM", "RUN", "COPY", "ENV", "LABEL", "USER", "WORKDIR", "VOLUME", "EXPOSE", "STOPSIGNAL"}
    | {"HEALTHCHECK", "ENTRYPOINT", "CMD"}
)

_FROM = re.compile(r"(?P<base>\S+)(?:\s+AS\s+(?P<name>\S+))?", re.IGNORECASE)
_FLAG = re.compile(r"--(?P<name>[a-z-]+)=(?P<value>\S+)\s+")
_VARIABLE = re.compile(r"\$(?:\{(?P<braced>\w+)\}|(?P<plain>\w+))")


class DockerfileError(Exception):
    """A Dockerfile says something that is not read here."""


@dataclass(frozen=True)
class Instruction:
    """One instruction: its keyword, its flags (`--from=deps`) by name, and the rest as written, on one line."""

    keyword: str
    flags: dict[str, str]
    text: str

    @property
    def words(self) -> list[str]:
        """The rest as a list: a JSON array's items, or the words of a line."""
        if self.text.startswith("["):
            return [str(item) for item in json.loads(self.text)]
        return shlex.split(self.text)

    @property
    def pairs(self) -> dict[str, str]:
        """Names and values of ENV and LABEL."""
        pairs = (word.partition("=") for word in self.words)
        return {name: value for name, _, value in pairs}


@dataclass(frozen=True)
class Stage:
    """A FROM and what follows it; `base` is an image or the name of an earlier stage."""

    name: str
    base: str
    instructions: tuple[Instruction, ...]

    def all(self, keyword: str) -> list[Instruction]:
        """This stage's instructions of one keyword, in order."""
        return [one for one in self.instructions if one.keyword == keyword]

    def last(self, keyword: str) -> Instruction:
        """The one that counts where the last wins.

        Raises:
            DockerfileError: The stage has none.
        """
        found = self.all(keyword)
        if not found:
            raise DockerfileError(f"stage {self.name} has no {keyword}")
        return found[-1]

    @property
    def health_command(self) -> list[str]:
        """What HEALTHCHECK runs."""
        _, _, command = self.last("HEALTHCHECK").text.partition("CMD ")
        return [str(item) for item in json.loads(command)]


def parse(path: Path) -> tuple[Stage, ...]:
    """The stages of a Dockerfile, in order; the last is the image.

    Raises:
        DockerfileError: A keyword, or a stage, that is not known.
    """
    stages: list[Stage] = []
    for line in _logical_lines(path.read_text()):
        instruction = _instruction(line)
        if instruction.keyword == "FROM":
            found = _FROM.fullmatch(instruction.text)
            if found is None:
                raise DockerfileError(f"cannot read FROM {instruction.text}")
            stages.append(Stage(name=found["name"] or str(len(stages)), base=found["base"], instructions=()))
        elif not stages:
            raise DockerfileError(f"{instruction.keyword} stands before the first FROM")
        else:
            last = stages[-1]
            stages[-1] = Stage(last.name, last.base, (*last.instructions, instruction))
    if not stages:
        raise DockerfileError(f"{path} has no FROM")
    return tuple(stages)


def expand(text: str, variables: dict[str, str]) -> str:
    """`text` with `$NAME` and `${NAME}` replaced as ENV does it; an unknown name is empty."""
    return _VARIABLE.sub(lambda found: variables.get(found["braced"] or found["plain"], ""), text)


def _logical_lines(text: str) -> Iterator[str]:
    """Instructions on one line each; comments go, also those between the lines of one instruction."""
    parts: list[str] = []
    for line in text.splitlines():
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        parts.append(stripped.removesuffix("\\").rstrip())
        if not stripped.endswith("\\"):
            yield " ".join(parts)
            parts = []
    if parts:
        raise DockerfileError(f"the last instruction does not end: {' '.join(parts)}")


def _instruction(line: str) -> Instruction:
    keyword, _, rest = line.partition(" ")
    keyword, rest = keyword.upper(), rest.strip()
    if keyword not in KEYWORDS:
        raise DockerfileError(f"{keyword} is not read here; known are {', '.join(sorted(KEYWORDS))}")
    flags: dict[str, str] = {}
    while (found := _FLAG.match(rest)) and keyword in {"FROM", "COPY", "RUN", "HEALTHCHECK"}:
        flags[found["name"]] = found["value"]
        rest = rest[found.end() :]
    if keyword == "RUN" and flags:
        raise DockerfileError(f"RUN with --{next(iter(flags))} is not read here")
    return Instruction(keyword, flags, rest)
