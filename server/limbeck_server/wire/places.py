"""Where files lie on the server is kept from its callers: they know datasets and sets by their names."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from limbeck_server.wire.refusal import Refusal


def text_without_root(text: str, root: Path) -> str:
    """The text with paths below the server's folder as they are from there: "datasets/0123…/train"."""
    if root == Path(root.anchor):
        return text
    whole = re.compile(rf"(?<![\w./-]){re.escape(str(root))}(?:(/)|(?![\w-]|\.\w))")
    return whole.sub(lambda found: "" if found[1] else "the server's folder", text)


def without_root(refusal: Refusal, root: Path) -> Refusal:
    """The refusal with such text everywhere."""
    violations = [replace(one, description=text_without_root(one.description, root)) for one in refusal.violations]
    return replace(refusal, message=text_without_root(refusal.message, root), violations=violations)
