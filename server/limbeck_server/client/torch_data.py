"""torch's datasets of what a job makes: while it runs, and when it is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from PIL import Image

from limbeck.cache import default_root

try:
    import torch
    from torch.utils.data import Dataset, IterableDataset, get_worker_info
except ImportError as error:
    raise ImportError(f"datasets for training need torch: pip install 'limbeck[evaluate]' ({error})") from error

from limbeck.data.layout import read_manifest, read_rows
from limbeck.errors import ConfigError, DataError
from limbeck_server.client.connection import Connection
from limbeck_server.client.following import Following, refuse_failed
from limbeck_server.client.image_cache import ImageCache
from limbeck_server.client.jobs import Job
from limbeck_server.client.sets import DistilledSet, name_of
from limbeck_server.client.sync import Client
from limbeck_server.wire.names import is_set_name, job_id, set_id

Transform = Callable[[Image.Image], Any]
"""What becomes of an RGB image."""


class DistilledDataset(IterableDataset[tuple[Any, int]]):
    """The images of a job, for training that begins before the job ends. Items are (image, label).

    An epoch that begins while the job runs gives every image as soon as it is finished, and ends with the job. Every
    later epoch gives all images, from this machine's disk, shuffled by `seed` and epoch. Both are divided among the
    ranks and DataLoader workers in the same way, so that each image of an epoch comes to exactly one of them.

    Call `set_epoch` before every epoch but the first, as for torch's DistributedSampler.

    Args:
        server: A client, a connection, or an address.
        job: A distillation job.
        transform: What becomes of an image; None gives float32 of shape (3, height, width) in [0, 1].
        follow: Give images while the job runs. False waits for its end.
        seed: Of the shuffling and of the division.
        cache: The folder that keeps the images; processes of one machine share it. None: one in the user's cache.
        rank, world_size: Which of how many training processes this is. None: what torch.distributed says, if it is
            initialized; else one of one.

    Raises:
        ConfigError: A rank that there is not.
        JobError: While iterating: the job did not succeed; after the images that it has made.
        ServerError: While iterating: the server refused, or was away for the connection's `timeout_seconds`.
    """

    def __init__(
        self,
        server: Client | Connection | str,
        job: Job | str,
        *,
        transform: Transform | None = None,
        follow: bool = True,
        seed: int = 0,
        cache: str | Path | None = None,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        self._connection = _connection(server)
        self._job = name_of(job)
        self._transform = transform or _tensor
        self._follow = follow
        self._seed = seed
        self._folder = _cache_folder(cache, "jobs", job_id(self._job))
        self._rank, self._world_size = _place(rank, world_size)
        # In shared memory, so that DataLoader workers that outlive an epoch see it change.
        self._epoch = torch.zeros((), dtype=torch.int64)
        self._epoch.share_memory_()  # type: ignore[no-untyped-call]

    def set_epoch(self, epoch: int) -> None:
        """Which epoch the next iteration is, from 0; it decides the order."""
        self._epoch.fill_(epoch)

    def __iter__(self) -> Iterator[tuple[Any, int]]:
        cache = ImageCache(self._folder)
        whole = cache.end()
        if whole is not None:
            refuse_failed(self._job, whole)
        with Following(self._connection, self._job, cache) as following:
            mine = self._numbers(following.num_images())
            if whole is None and self._follow:
                wanted = set(mine)
                images = (image for image in following.images() if image.number in wanted)
            else:
                following.until_end()
                listed, _ = cache.listed()
                images = (listed[number - 1] for number in mine)
            for image in images:
                yield self._transform(cache.open(image)), image.label

    def _numbers(self, num_images: int) -> list[int]:
        """The numbers of the images that come to this process in this epoch, in the epoch's order."""
        worker = get_worker_info()
        worker_id, num_workers = (worker.id, worker.num_workers) if worker is not None else (0, 1)
        order = np.random.default_rng([self._seed, int(self._epoch)]).permutation(num_images) + 1
        share = order[self._rank * num_workers + worker_id :: self._world_size * num_workers]
        return [int(number) for number in share]


class DistilledImages(Dataset[tuple[Any, int]]):
    """A finished set, fetched once to this machine's disk. Items are (image, label), by label and position.

    Args:
        server: A client, a connection, or an address.
        distilled_set: A set, or a job that has made one.
        transform: As of `DistilledDataset`.
        cache: The folder that keeps sets. None: one in the user's cache.

    Raises:
        JobError: The job has made no set.
        ServerError: The server refused, or was away for too long.
        OutputError: The disk is full or refuses.
    """

    def __init__(
        self,
        server: Client | Connection | str,
        distilled_set: DistilledSet | Job | str,
        *,
        transform: Transform | None = None,
        cache: str | Path | None = None,
    ) -> None:
        self.folder = _fetched(_connection(server), name_of(distilled_set), cache)
        """Where the set lies, as `limbeck distill` would have written it."""
        manifest = read_manifest(self.folder)
        self.class_names = manifest.class_names
        """In label order."""
        self._rows = read_rows(self.folder, manifest)
        self._transform = transform or _tensor

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        row = self._rows[index]
        path = self.folder / "train" / row["file_name"]
        try:
            with Image.open(path) as image:
                pixels = image.convert("RGB")
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error}") from error
        return self._transform(pixels), row["label"]


def _connection(server: Client | Connection | str) -> Connection:
    if isinstance(server, Client):
        return server.connection
    return Connection(address=server) if isinstance(server, str) else server


def _cache_folder(cache: str | Path | None, kind: str, id: str) -> Path:
    return (default_root() if cache is None else Path(cache)) / kind / id


def _fetched(connection: Connection, name: str, cache: str | Path | None) -> Path:
    with Client(connection) as client:
        if not is_set_name(name):
            name = client.set_of(name)
        folder = _cache_folder(cache, "sets", set_id(name))
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_suffix(".lock")):
            if not folder.exists():
                client.download(name, folder)
    return folder


def _place(rank: int | None, world_size: int | None) -> tuple[int, int]:
    distributed = torch.distributed
    running = distributed.is_available() and distributed.is_initialized()
    if rank is None:
        rank = distributed.get_rank() if running else 0
    if world_size is None:
        world_size = distributed.get_world_size() if running else 1
    if not 0 <= rank < world_size:
        raise ConfigError(f"rank {rank} of {world_size} processes is none; ranks are 0..{world_size - 1}")
    return rank, world_size


def _tensor(image: Image.Image) -> torch.Tensor:
    pixels = np.asarray(image, np.float32).transpose(2, 0, 1) / 255.0
    return torch.from_numpy(np.ascontiguousarray(pixels))
