"""Training on what a job makes: every image of an epoch comes to exactly one process."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="training needs torch")

import torch
from torch.utils.data import DataLoader

from limbeck.errors import ConfigError
from limbeck_server.client import Client, DistilledDataset, DistilledImages, Job, JobError
from support.flaky import flaky
from support.served import NAMES, Served, images_of, served

IPC, NUM_CLASSES = 20, 3
LABELS = {label: IPC for label in range(NUM_CLASSES)}


def first_pixels(image: Any) -> tuple[float, ...]:
    """What tells the images apart."""
    return tuple(image.flatten()[:8].tolist())


def items(dataset: Any, **loading: Any) -> list[tuple[tuple[float, ...], int]]:
    """Every item that a DataLoader gives, in its order."""
    return [(first_pixels(image), int(label)) for image, label in DataLoader(dataset, batch_size=None, **loading)]


def whole_set(ipc: int = IPC) -> Counter[tuple[tuple[float, ...], int]]:
    """The items of a job, from the pixels that the server's worker made them of."""
    made = Counter[tuple[tuple[float, ...], int]]()
    for label in range(NUM_CLASSES):
        for image in images_of(label, ipc):
            made[first_pixels(torch.from_numpy((image * 255).round() / 255)), label] += 1
    return made


def assert_whole(found: list[tuple[tuple[float, ...], int]], ipc: int = IPC) -> None:
    expected = {(tuple(round(x, 4) for x in pixels), label): n for (pixels, label), n in whole_set(ipc).items()}
    assert Counter((tuple(round(x, 4) for x in pixels), label) for pixels, label in found) == expected


def test_an_epoch_gives_every_image_once(server: Served, done: Job, tmp_path: Path) -> None:
    assert_whole(items(DistilledDataset(server.address, done, cache=tmp_path)))


def test_images_are_floats_in_0_to_1(server: Served, done: Job, tmp_path: Path) -> None:
    image, label = next(iter(DistilledDataset(server.address, done, cache=tmp_path)))
    assert (image.dtype, image.shape, label) == (torch.float32, (3, 64, 64), label)
    assert 0 <= image.min() < image.max() <= 1


def test_a_transform_is_given_the_picture(server: Served, done: Job, tmp_path: Path) -> None:
    dataset = DistilledDataset(server.address, done, cache=tmp_path, transform=lambda picture: picture.size)
    assert next(iter(dataset))[0] == (64, 64)


def test_the_first_image_comes_before_the_job_ends(tmp_path: Path) -> None:
    with served(tmp_path / "server", allowed=1) as server, Client(server.address) as client:
        job = client.submit("random", server.dataset, ipc=2)
        images = iter(DistilledDataset(client, job, cache=tmp_path))
        seen = [next(images), next(images)]
        assert not client.job(job).is_final
        server.allow(3)
        seen += images
        assert client.wait(job).is_final
    assert_whole([(first_pixels(image), label) for image, label in seen], ipc=2)


def test_without_following_nothing_comes_before_the_job_ends(tmp_path: Path) -> None:
    with served(tmp_path / "server", allowed=1) as server, Client(server.address) as client:
        job = client.submit("random", server.dataset, ipc=2)
        states = []
        dataset = DistilledDataset(client, job, cache=tmp_path, follow=False, transform=lambda _: 0)

        def read() -> None:
            for _ in dataset:
                states.append(client.job(job).is_final)

        reader = threading.Thread(target=read)
        reader.start()
        server.allow(3)
        reader.join(60)
    assert states == [True] * 6


def test_later_epochs_come_from_the_disk_in_another_order(server: Served, done: Job, tmp_path: Path) -> None:
    dataset = DistilledDataset(server.address, done, cache=tmp_path)
    items(dataset)
    away = DistilledDataset("127.0.0.1:1", done, cache=tmp_path)
    epochs = []
    for epoch in (1, 2):
        away.set_epoch(epoch)
        epochs.append(items(away))
        assert_whole(epochs[-1])
    assert epochs[0] != epochs[1]
    away.set_epoch(1)
    assert items(away) == epochs[0]


@pytest.mark.parametrize("context", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_workers_share_an_epoch_of_a_job_that_runs(context: str, tmp_path: Path) -> None:
    with served(tmp_path / "server", allowed=1) as server, Client(server.address) as client:
        job = client.submit("random", server.dataset, ipc=6)
        dataset = DistilledDataset(client, job, cache=tmp_path)
        loader = iter(DataLoader(dataset, batch_size=None, num_workers=2, multiprocessing_context=context))
        seen = [next(loader)]
        server.allow(3)
        seen += loader
    assert_whole([(first_pixels(image), int(label)) for image, label in seen], ipc=6)


def test_workers_that_outlive_an_epoch_see_the_next(server: Served, done: Job, tmp_path: Path) -> None:
    dataset = DistilledDataset(server.address, done, cache=tmp_path)
    loader = DataLoader(dataset, batch_size=None, num_workers=2, persistent_workers=True)
    orders = []
    for epoch in range(3):
        dataset.set_epoch(epoch)
        orders.append([(first_pixels(image), int(label)) for image, label in loader])
        assert_whole(orders[-1])
    assert orders[1] != orders[2]


def test_ranks_share_an_epoch_whether_they_follow_or_not(server: Served, done: Job, tmp_path: Path) -> None:
    make: Callable[..., Any] = lambda rank: DistilledDataset(  # noqa: E731
        server.address, done, cache=tmp_path, rank=rank, world_size=2
    )
    streamed = items(make(0))
    from_disk = items(make(1))
    assert abs(len(streamed) - len(from_disk)) <= 1
    assert_whole(streamed + from_disk)


def test_a_rank_that_there_is_not_is_refused(server: Served, done: Job, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"ranks are 0\.\.1"):
        DistilledDataset(server.address, done, cache=tmp_path, rank=2, world_size=2)


@pytest.mark.slow
def test_ranks_of_torch_share_an_epoch(server: Served, done: Job, tmp_path: Path) -> None:
    context = torch.multiprocessing.get_context("spawn")
    arguments = [(rank, server.address, done.name, tmp_path) for rank in range(2)]
    with context.Pool(2) as pool:
        first, second = pool.starmap(_of_rank, arguments)
    assert abs(len(first) - len(second)) <= 1
    assert_whole(first + second)


def _of_rank(rank: int, address: str, job: str, folder: Path) -> list[tuple[tuple[float, ...], int]]:
    meeting = f"file://{folder}/meeting"
    torch.distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
    try:
        return items(DistilledDataset(address, job, cache=folder))
    finally:
        torch.distributed.destroy_process_group()


def test_a_broken_connection_loses_and_repeats_nothing(server: Served, done: Job, tmp_path: Path) -> None:
    with flaky(server.port, down=[20_000, 200_000, 1_000, 100_000]) as way:
        assert_whole(items(DistilledDataset(way.address, done, cache=tmp_path)))
        assert way.broken >= 3


def test_an_epoch_that_was_left_is_continued_by_the_next_process(server: Served, done: Job, tmp_path: Path) -> None:
    images = iter(DistilledDataset(server.address, done, cache=tmp_path))
    next(images)
    images.close()  # type: ignore[attr-defined]
    assert_whole(items(DistilledDataset(server.address, done, cache=tmp_path)))


def test_a_job_that_fails_says_why_after_its_images(tmp_path: Path) -> None:
    with served(tmp_path / "server", allowed=1) as server, Client(server.address) as client:
        job = client.submit("random", server.dataset, ipc=2)
        images = iter(DistilledDataset(client, job, cache=tmp_path))
        assert len([next(images), next(images)]) == 2
        server.allow(-2)
        with pytest.raises(JobError, match="the decoder gave no numbers"):
            list(images)


def test_a_finished_set_is_fetched_once(server: Served, done: Job, tmp_path: Path) -> None:
    images = DistilledImages(server.address, done, cache=tmp_path)
    assert (len(images), list(images.class_names)) == (IPC * NUM_CLASSES, NAMES)
    assert_whole(items(images))
    assert done.distilled_set is not None
    again = DistilledImages(server.address, done.distilled_set, cache=tmp_path)
    assert again.folder == images.folder


@pytest.mark.slow
def test_a_network_is_trained_while_the_job_runs(tmp_path: Path) -> None:
    network = torch.nn.Sequential(torch.nn.AvgPool2d(16), torch.nn.Flatten(), torch.nn.Linear(48, NUM_CLASSES))
    optimizer = torch.optim.SGD(network.parameters(), 0.5)
    before = network[2].weight.detach().clone()
    with served(tmp_path / "server", allowed=1) as server, Client(server.address) as client:
        job = client.submit("random", server.dataset, ipc=8)
        dataset = DistilledDataset(client, job, cache=tmp_path)
        losses = []
        for epoch in range(3):
            dataset.set_epoch(epoch)
            for images, labels in DataLoader(dataset, batch_size=8):
                loss = torch.nn.functional.cross_entropy(network(images), labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
                server.allow(3)
    assert len(losses) == 9
    assert not torch.equal(network[2].weight, before)
