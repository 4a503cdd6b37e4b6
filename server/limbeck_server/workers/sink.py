"""Where a worker's finished units go: their files to the blob store, their addresses to the front."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

from limbeck.data.arrays_file import NamedArrays, sealed, unsealed
from limbeck.data.unit import EncodedUnit, UnitLayout
from limbeck.errors import DataError
from limbeck_server.rpc import worker_pb2
from limbeck_server.runner.open_job import OnProgress
from limbeck_server.store.blobs import Blobs

_log = logging.getLogger(__name__)


class LeaseSink:
    """A `UnitSink` of one lease.

    Args:
        lease: Its token.
        layout: How the job's units are encoded.
        blobs: Where files go; what is told to the front is on the disk.
        checkpoints: The address of the state of units that were begun before.
        send: Tells the front.
        step: Called after each image that is stored: many take long.
    """

    def __init__(
        self,
        lease: str,
        layout: UnitLayout,
        blobs: Blobs,
        *,
        checkpoints: Mapping[int, str],
        send: Callable[..., None],
        step: OnProgress,
    ) -> None:
        """Nothing is written yet."""
        self.layout = layout
        self._lease = lease
        self._blobs = blobs
        self._checkpoints = checkpoints
        self._send = send
        self._step = step
        self._finished: set[int] = set()

    def finished_units(self) -> set[int]:
        return self._finished

    def checkpoint(self, unit: int) -> NamedArrays | None:
        digest = self._checkpoints.get(unit)
        if not digest:
            return None
        try:
            return unsealed(self._blobs.read(digest))
        except (DataError, OSError) as error:
            _log.warning("checkpoint_damaged unit=%d: %s; the unit begins again", unit, error)
            return None

    def write_checkpoint(self, unit: int, state: NamedArrays) -> None:
        digest = self._blobs.put(sealed(state))
        self._send(checkpoint_kept=worker_pb2.CheckpointKept(lease=self._lease, index=unit, digest=digest))

    def store_unit(self, unit: EncodedUnit) -> None:
        images = []
        for number, row in enumerate(unit.rows, 1):
            content = unit.files[row["file_name"]]
            images.append(
                worker_pb2.Image(
                    label=row["label"],
                    position=position_of(row),
                    digest=self._blobs.put(content),
                    nbytes=len(content),
                    row_json=json.dumps(row),
                )
            )
            self._step("storing", number, len(unit.rows))
        arrays = self._blobs.put(sealed(unit.arrays)) if unit.arrays else ""
        self._finished.add(unit.index)
        self._send(
            unit_finished=worker_pb2.UnitFinished(lease=self._lease, index=unit.index, images=images, arrays=arrays)
        )


def position_of(row: Mapping[str, Any]) -> int:
    """An image's position in its class, which its file is called after."""
    return int(row["file_name"].rpartition("/")[2].removesuffix(".png"))
