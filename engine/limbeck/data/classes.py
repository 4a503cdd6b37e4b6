"""Whether the labels of several sources mean the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from limbeck.errors import DataError

_SHOWN = 5


def refuse_other_classes(named: Mapping[str, Sequence[str]]) -> None:
    """Refuse sources whose class names differ, in themselves or in their order.

    Args:
        named: What each source is called, and its class names in label order. All are held against the first.

    Raises:
        DataError: It names two sources, and the first label at which they differ.
    """
    (first, names), *others = named.items()
    for place, found in others:
        if tuple(found) == tuple(names):
            continue
        if len(found) != len(names):
            what = f"{first} has {_classes(names)}, {place} has {_classes(found)}"
        else:
            label = next(i for i, pair in enumerate(zip(names, found, strict=True)) if pair[0] != pair[1])
            what = f"label {label} is '{names[label]}' in {first}, and '{found[label]}' in {place}"
        raise DataError(f"the sets cannot be compared: {what}; names and order must be the same")


def _classes(names: Sequence[str]) -> str:
    return f"{len(names)} classes ({', '.join(names[:_SHOWN])}{', …' if len(names) > _SHOWN else ''})"
