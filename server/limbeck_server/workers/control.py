"""Engines loaded and unloaded on every worker, at a client's wish."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from limbeck_server.engines.front import WorkerLostError
from limbeck_server.engines.reasons import error_of
from limbeck_server.workers.pool import WorkerPool


@dataclass(frozen=True)
class EngineControl:
    """Changes what workers have loaded for direct calls.

    Args:
        pool: The workers.
    """

    pool: WorkerPool

    async def load(self, pack: str, role: str) -> None:
        """Load an engine on every worker.

        Raises:
            LimbeckError: It cannot be loaded, or there is no worker.
        """
        await self._change(pack, role, load=True)

    async def unload(self, pack: str, role: str) -> None:
        """Unload an engine everywhere.

        Raises:
            LimbeckError: There is no such engine, or no worker.
        """
        await self._change(pack, role, load=False)

    def loaded_on(self, pack: str, role: str) -> Sequence[str]:
        """The workers that have it loaded."""
        return [one.worker for one in self.pool.workers() if one.answers and (pack, role) in one.engines]

    async def _change(self, pack: str, role: str, *, load: bool) -> None:
        workers = [one.id for one in self.pool.calls.call_workers()]
        if not workers:
            raise WorkerLostError("no worker is ready; try again when one is")
        answers = await asyncio.gather(
            *(self.pool.calls.change_engine(one, pack=pack, role=role, load=load) for one in workers)
        )
        for answer in answers:
            if answer.reason:
                raise error_of(answer.reason, answer.message)
