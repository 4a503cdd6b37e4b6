"""Resource names: what the wire calls a job, a dataset, a distilled set, a pack and an engine.

jobs/{32 hexadecimal digits}
datasets/{32 hexadecimal digits}
distilledSets/{32 hexadecimal digits}
packs/{pack}
packs/{pack}/engines/{role}
"""

from __future__ import annotations

import re

from limbeck_server.wire.refusal import RequestError, Violation

_ID = re.compile(r"[0-9a-f]{32}")
# no slash and no leading dot: a pack's name is joined to a folder
_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


def job_name(job: str) -> str:
    """The name of the job of that id."""
    return f"jobs/{job}"


def dataset_name(dataset: str) -> str:
    """The name of the dataset of that id."""
    return f"datasets/{dataset}"


def set_name(distilled_set: str) -> str:
    """The name of the distilled set of that id."""
    return f"distilledSets/{distilled_set}"


def pack_name(pack: str) -> str:
    """The name of the pack that is called that."""
    return f"packs/{pack}"


def engine_name(pack: str, role: str) -> str:
    """The name of the engine of a pack's role."""
    return f"packs/{pack}/engines/{role}"


def is_set_name(name: str) -> bool:
    """Whether a name is meant for a distilled set, rather than for something else."""
    return name.startswith("distilledSets/")


def job_id(name: str, field: str = "name") -> str:
    """The id in a job's name.

    Args:
        name: The name.
        field: The field of the request that has it, for the error.

    Raises:
        RequestError: It is no name of a job; so of the functions below.
    """
    return _last("jobs", _ID, "32 hexadecimal digits", name, field)


def dataset_id(name: str, field: str = "name") -> str:
    """The id in a dataset's name."""
    return _last("datasets", _ID, "32 hexadecimal digits", name, field)


def set_id(name: str, field: str = "name") -> str:
    """The id in a distilled set's name."""
    return _last("distilledSets", _ID, "32 hexadecimal digits", name, field)


def pack_id(name: str, field: str = "name") -> str:
    """What a pack is called, from its name."""
    return _last("packs", _WORD, "a pack", name, field)


def engine_id(name: str, field: str = "name") -> tuple[str, str]:
    """Pack and role, from an engine's name."""
    parts = name.split("/")
    if len(parts) == 4 and parts[::2] == ["packs", "engines"] and all(map(_WORD.fullmatch, parts[1::2])):
        return parts[1], parts[3]
    raise _refused(name, "packs/{a pack}/engines/{a role}", field)


def _last(collection: str, allowed: re.Pattern[str], called: str, name: str, field: str) -> str:
    first, _, last = name.partition("/")
    if first == collection and allowed.fullmatch(last):
        return last
    raise _refused(name, f"{collection}/{{{called}}}", field)


def _refused(name: str, wanted: str, field: str) -> RequestError:
    found = f"{name[:100]!r} is no such name" if name else "it is empty"
    return RequestError(Violation(field, f"{found}; it must be {wanted}"))
