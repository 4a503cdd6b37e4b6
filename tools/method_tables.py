"""Write what the methods' own docstrings say into docs/reference/methods.md, between markers.

python tools/method_tables.py     rewrites the page

Each method gets a section: its module's docstring, and a table of its fields with the defaults, the values of the
faithful preset and the meaning from the class's `Args:`. What stands outside the markers is kept.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from dataclasses import fields
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

from limbeck.methods import METHODS
from limbeck.methods.plugins import MethodKind

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/reference/methods.md"
AFTER_SECTIONS = "## Step cache\n"
"""New sections go before this one."""

_GIVEN = ("ipc", "seed")
"""Fields that are options of every method."""


def written(page: str) -> str:
    """`page` with what is between its markers as the methods say today."""
    page = _replaced(page, "methods", _overview())
    for name, kind in METHODS.items():
        if _markers(name)[0] not in page:
            start, end = _markers(name)
            page = page.replace(AFTER_SECTIONS, f"## {name}\n\n{start}{end}\n{AFTER_SECTIONS}")
        page = _replaced(page, name, f"{_text(kind)}\n\n{_table(kind)}{_faithful(kind)}")
    return page


def meanings(kind: MethodKind) -> dict[str, str]:
    """What each field of a method means, from the `Args:` of its class and of those that it inherits from."""
    found: dict[str, str] = {}
    for owner in reversed(kind.__mro__):
        _, _, arguments = inspect.cleandoc(vars(owner).get("__doc__") or "").partition("\nArgs:\n")
        section = re.split(r"\n\S", arguments)[0]
        for name, text in re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", section, flags=re.MULTILINE):
            found[name] = " ".join(text.split())
    return found


def _faithful(kind: MethodKind) -> str:
    """What the preset keeps of the official release and what not, if the method says so."""
    text = inspect.cleandoc(kind.faithful.__doc__ or "")
    _, _, rest = text.partition("\n\n")
    return f"\n\n`--preset faithful`: {rest}" if rest else ""


def _overview() -> str:
    rows = ["| method | networks | what it does |", "|---|---|---|"]
    for name, kind in METHODS.items():
        first = _docstring(kind).splitlines()[0]
        rows.append(f"| [{name}](#{name}) | {', '.join(sorted(kind.needs)) or 'none'} | {first} |")
    return "\n".join(rows)


def _text(kind: MethodKind) -> str:
    source = Path(inspect.getfile(kind)).relative_to(ROOT)
    return f"{_docstring(kind)}\n\nSource: [{source.name}](../../{source.as_posix()})"


def _table(kind: MethodKind) -> str:
    default, faithful, meaning = kind(ipc=1), kind.faithful(ipc=1), meanings(kind)
    types = get_type_hints(kind)
    rows = ["| setting | default | faithful | meaning |", "|---|---|---|---|"]
    for field in fields(kind):
        if field.name not in _GIVEN:
            values = [_shown(getattr(method, field.name)) for method in (default, faithful)]
            text = _with_choices(meaning[field.name], types[field.name])
            rows.append(f"| `{field.name}` | {' | '.join(values)} | {_cell(text)} |")
    return "\n".join(rows)


def _with_choices(meaning: str, kind: object) -> str:
    """A meaning, and the values to choose from where it does not name them all."""
    choices = get_args(kind) if get_origin(kind) is Literal else ()
    return meaning if all(f'"{choice}"' in meaning for choice in choices) else f"{meaning} One of {', '.join(choices)}."


def _docstring(kind: MethodKind) -> str:
    return inspect.cleandoc(sys.modules[kind.__module__].__doc__ or "")


def _shown(value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, tuple):
        return f"[{', '.join(map(_shown, value))}]"
    return _cell(value if isinstance(value, str) else json.dumps(value))


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _markers(name: str) -> tuple[str, str]:
    return f"<!-- {name}: written by tools/method_tables.py -->\n", f"<!-- end of {name} -->\n"


def _replaced(page: str, name: str, content: str) -> str:
    start, end = _markers(name)
    before, _, rest = page.partition(start)
    _, _, after = rest.partition(end)
    return f"{before}{start}\n{content}\n\n{end}{after}"


def main() -> None:
    """Rewrite the page."""
    PAGE.write_text(written(PAGE.read_text()))


if __name__ == "__main__":
    main()
