"""What jobs read and what they make, as a client sees it: datasets, distilled sets and their images."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from PIL import Image

from limbeck_server.client.jobs import Job, failure_from, time_from
from limbeck_server.rpc import datasets_pb2, sets_pb2
from limbeck_server.store.records import DatasetState, Failure
from limbeck_server.wire.structs import json_of


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Real images that jobs may read.

    Args:
        name: `datasets/…`.
        owner: The name of the token that brought it.
        display_name: What its owner calls it.
        state: Where it stands.
        uploaded: Whether it was uploaded, rather than registered.
        path: Where it lies on the server's disk; "" if it was uploaded.
        nbytes: Its size; of an upload, the file's.
        num_images, num_classes: 0 until it is ready.
        sha256: Of the file that was uploaded.
        received_nbytes: Of an upload: how much is safe on the server's disk.
        created_at: By the server's clock.
        failure: Why it cannot be used.
    """

    name: str
    owner: str
    display_name: str
    state: DatasetState
    uploaded: bool
    path: str
    nbytes: int
    num_images: int
    num_classes: int
    sha256: str
    received_nbytes: int
    created_at: datetime | None
    failure: Failure | None


@dataclass(frozen=True, kw_only=True)
class DistilledSet:
    """A distilled set on the server.

    Args:
        name: `distilledSets/…`.
        owner: The name of the token whose job made it.
        job: `jobs/…`, which may have been deleted.
        created_at: By the server's clock.
        num_files, nbytes: Its files.
    """

    name: str
    owner: str
    job: str
    created_at: datetime | None
    num_files: int
    nbytes: int


@dataclass(frozen=True, kw_only=True)
class DistilledImage:
    """An image of a distilled set.

    Args:
        number: 1, 2, 3, … in the order in which the job's images were finished, or by label and position in a set.
        label: Its class.
        class_name: What the class is called.
        position: 0..ipc-1 in its class.
        png: Its file.
        sha256: Of the file.
        row: What metadata.jsonl says of it.
    """

    number: int
    label: int
    class_name: str
    position: int
    png: bytes = field(repr=False)
    sha256: str
    row: Mapping[str, Any]

    def open(self) -> Image.Image:
        """Its pixels, RGB."""
        return Image.open(io.BytesIO(self.png)).convert("RGB")


def name_of(thing: Job | Dataset | DistilledSet | str) -> str:
    """What the server calls a thing."""
    return thing if isinstance(thing, str) else thing.name


def dataset_from(message: datasets_pb2.Dataset) -> Dataset:
    """A dataset from its message."""
    state: str = datasets_pb2.DatasetState.Name(message.state).removeprefix("DATASET_STATE_")
    return Dataset(
        name=message.name,
        owner=message.owner,
        display_name=message.display_name,
        # one that this client does not know is of a newer server, which is not done with it
        state=DatasetState.__members__.get(state, DatasetState.CHECKING),
        uploaded=message.uploaded,
        path=message.path,
        nbytes=message.nbytes,
        num_images=message.num_images,
        num_classes=message.num_classes,
        sha256=message.sha256,
        received_nbytes=message.received_nbytes,
        created_at=time_from(message, "create_time"),
        failure=failure_from(message),
    )


def set_from(message: sets_pb2.DistilledSet) -> DistilledSet:
    """A distilled set from its message."""
    return DistilledSet(
        name=message.name,
        owner=message.owner,
        job=message.job,
        created_at=time_from(message, "create_time"),
        num_files=message.num_files,
        nbytes=message.nbytes,
    )


def image_from(message: sets_pb2.Image) -> DistilledImage:
    """An image from its message."""
    return DistilledImage(
        number=message.number,
        label=message.label,
        class_name=message.class_name,
        position=message.position,
        png=message.png,
        sha256=message.sha256,
        row=json_of(message.row, "row"),
    )
