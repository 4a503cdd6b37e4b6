"""The cells of the study, in an order in which a stopped study is still balanced."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product

ALL_REAL = "all real images"
"""In place of a method: the student trained on every real image."""

SMALL_IPC = 10


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One student trained once on what one method makes of one dataset.

    Args:
        dataset: Its name in the study.
        method: A key of `limbeck.methods.METHODS`, or `ALL_REAL`.
        ipc: Images per class; 0 for all.
        student: Its name.
        seed: Of the distillation and of the training.
    """

    dataset: str
    method: str
    ipc: int
    student: str
    seed: int

    def key(self, facts: Mapping[str, object]) -> str:
        """What the cell is known by in the ledger.

        Args:
            facts: Everything else that decides the result: settings, recipe, digests of data and pack.
        """
        text = json.dumps([asdict(self), facts], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:24]


def cells(
    *,
    datasets: Sequence[str],
    methods: Sequence[str],
    ipcs: Sequence[int],
    students: Sequence[str],
    seeds: int,
) -> Iterator[Cell]:
    """Every cell: small IPC of all methods before large ones, one seed before the next, one student before the next.

    All real images come first of each student's turn on a dataset, as the others are read beside them.
    """
    small, large = ([ipc for ipc in ipcs if (ipc <= SMALL_IPC) == wanted] for wanted in (True, False))
    for group in (small, large):
        for seed, student, dataset in product(range(seeds), students, datasets):
            if group is small or not small:
                yield Cell(dataset=dataset, method=ALL_REAL, ipc=0, student=student, seed=seed)
            for ipc, method in product(group, methods):
                yield Cell(dataset=dataset, method=method, ipc=ipc, student=student, seed=seed)
