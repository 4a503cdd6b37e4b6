"""The process before a budget is in force: its libraries are loaded, and a budget that they exceed is refused.

OpenBLAS ends the process when it is refused its buffers, or asks for them for ever. So libraries are loaded before the
limit is set; where the system has set one already, a child tries first.
"""

from __future__ import annotations

import multiprocessing
import sys

from limbeck.budget import format_nbytes
from limbeck.errors import BudgetError, MemoryLimitError
from limbeck.memory.process import give_back, keep_heap_small, usage
from limbeck.methods.base import Method

_TRY_SECONDS = 120.0


def make_ready(method: Method, budget_nbytes: int | None) -> None:
    """Load what `method` uses beside networks, and see whether that leaves room for any.

    Raises:
        BudgetError: The process without any engine exceeds the budget.
        MemoryLimitError: The libraries do not fit under the limit that the system has set.
    """
    granted = _granted_nbytes()
    if granted is not None or budget_nbytes is not None:
        keep_heap_small()
    if granted is not None:
        _try_elsewhere(method, granted)
    method.warm_up()
    give_back()
    base_nbytes = usage().private_nbytes
    if budget_nbytes is not None and base_nbytes > budget_nbytes:
        raise BudgetError(
            f"nothing fits in {format_nbytes(budget_nbytes)}: the process with its libraries and without any engine "
            f"takes {format_nbytes(base_nbytes)}\n"
            "  would fit:    a budget well above that, as engines come on top; OPENBLAS_NUM_THREADS=1 saves some",
            needed_nbytes=base_nbytes,
            budget_nbytes=budget_nbytes,
            largest_part="process",
        )


def _granted_nbytes() -> int | None:
    """The least of the limits that the system has set on this process's memory; None if it has set none."""
    if sys.platform != "linux":
        return None
    import resource

    limits = [resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_DATA, resource.RLIMIT_AS)]
    return min((limit for limit in limits if limit != resource.RLIM_INFINITY), default=None)


def _try_elsewhere(method: Method, granted_nbytes: int) -> None:
    child = multiprocessing.get_context("spawn").Process(target=method.warm_up, daemon=True)
    child.start()
    child.join(_TRY_SECONDS)
    if child.exitcode != 0:
        child.kill()
        child.join()
        raise MemoryLimitError(
            f"the libraries of method '{method.name}' do not fit into the {format_nbytes(granted_nbytes)} that the "
            "system grants this process; raise the limit (ulimit -d, ulimit -v), or set OPENBLAS_NUM_THREADS=1"
        )
