"""A page over a real ledger with real images, for tests of what it shows."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from limbeck_server.operations.metrics import Metrics
from limbeck_server.operations.state import Condition, ServerState
from limbeck_server.store.blobs import Blobs
from limbeck_server.store.records import FinishedUnit, Job, StoredImage, UnitSpec
from limbeck_server.store.sqlite import SqliteStore
from limbeck_server.store.threaded import ThreadedStore
from limbeck_server.trust.tokens import TokenFile
from limbeck_server.web.pages import Pages
from limbeck_server.web.server import HttpServer
from limbeck_server.web.view import LedgerView, WorkerRow
from support.stores import lease, new_job

PLAN: Mapping[str, Any] = {
    "peak_nbytes": 700 * 2**20,
    "budget_nbytes": 800 * 2**20,
    "parts": {"denoiser weights": 300 * 2**20, "denoiser activations": 250 * 2**20, "images": 150 * 2**20},
    "seconds": 42.0,
    "bucket": 16,
}
CLASSES = ("zero", "one", "two", "three")


@dataclass
class Shown:
    """What a page is served from, and where."""

    address: str
    store: SqliteStore
    blobs: Blobs
    state: ServerState
    metrics: Metrics
    workers: list[WorkerRow]
    pages: Pages
    close_ledger: Callable[[], Awaitable[None]]


@asynccontextmanager
async def shown_pages(
    folder: Path,
    *,
    tokens: TokenFile | None = None,
    tls: Any = None,
    local: bool = True,
    view: type[LedgerView] = LedgerView,
) -> AsyncIterator[Shown]:
    """Serve pages over a new ledger in a folder."""
    ledger, blobs = SqliteStore(folder / "ledger.sqlite"), Blobs(folder / "blobs")
    store, state, metrics = ThreadedStore(ledger), ServerState(), Metrics()
    state.leave(Condition.STARTING)
    workers: list[WorkerRow] = []
    pages = Pages(view(store, blobs, lambda: workers), metrics, state, tokens=tokens, local=local)
    try:
        async with HttpServer(pages, "127.0.0.1:0", tls=tls) as server:
            yield Shown(server.address, ledger, blobs, state, metrics, workers, pages, store.close)
    finally:
        await store.close()


def job_with_images(
    shown: Shown, *, class_names: Sequence[str] = CLASSES, ipc: int = 4, finished: int | None = None, **asked: Any
) -> Job:
    """A distillation of which so many classes are finished, each with images of its own color."""
    spec = {"method": "d4m", "ipc": ipc, "pack": "mini", "dataset": "d" * 32, "settings": {"num_steps": 20}}
    job = new_job(shown.store, spec=spec, **asked)
    others = [other.id for other in shown.store.jobs(limit=1000)[0] if other.id != job.id]
    held = lease(shown.store, exclude=others)
    units = [UnitSpec(label, (label,), ipc) for label in range(len(class_names))]
    prepared = {"header": {}, "class_names": list(class_names), "plan": dict(PLAN), "skipped": []}
    shown.store.prepared(held.token, prepared, units, num_images=ipc * len(class_names))
    shown.store.free(held.token)
    for label in range(len(class_names) if finished is None else finished):
        held = lease(shown.store, exclude=others)
        made = tuple(stored_image(shown.blobs, label, position, len(class_names)) for position in range(ipc))
        shown.store.finish_unit(held.token, FinishedUnit(label, made))
        shown.store.free(held.token)
    return shown.store.job(job.id)


def stored_image(blobs: Blobs, label: int, position: int, num_classes: int) -> StoredImage:
    """A picture of 32 x 32 pixels among the blobs."""
    rng = np.random.default_rng([label, position])
    hue = np.array(Image.new("HSV", (1, 1), (255 * label // num_classes, 150, 200)).convert("RGB"))[0, 0]
    rows, columns = np.mgrid[0:32, 0:32]
    distance = np.hypot(rows - rng.uniform(10, 22), columns - rng.uniform(10, 22))
    light = np.clip(1.3 - distance / rng.uniform(12, 24), 0.15, 1)[..., None] + rng.normal(0, 0.04, (32, 32, 1))
    stream = io.BytesIO()
    Image.fromarray((np.clip(light * hue, 0, 255)).astype(np.uint8)).save(stream, "PNG")
    content = stream.getvalue()
    digest = blobs.put(content)
    row = {"file_name": f"{label}/{position:04}.png", "label": label}
    return StoredImage(label, position, digest, len(content), row)
