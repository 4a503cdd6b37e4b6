"""A process that works on a ledger until it is killed, and says on its output what was acknowledged.

    python store_child.py FOLDER SEED

A line is JSON, one call: ["created", JOB], ["finished", JOB, UNIT, [DIGEST, …]], … Before a job is deleted, "deleting"
says so: a kill may come between the deed and its line.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
from pathlib import Path

from limbeck_server.store.blobs import Blobs
from limbeck_server.store.records import FINAL, PREPARE, PUBLISH, FinishedUnit, SetRecord, StoredImage, UnitSpec
from limbeck_server.store.sqlite import SqliteStore

IMAGES_A_UNIT = 3


class Worker:
    """Front and worker in one, doing whatever comes next."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.store = SqliteStore(folder / "ledger.sqlite")
        self.blobs = Blobs(folder / "blobs")
        self.random = random.Random(seed)
        self.say("freed_all", self.store.free_all())

    def say(self, *acknowledged: object) -> None:
        print(json.dumps(acknowledged), flush=True)

    def create(self) -> None:
        request = f"r{self.random.randrange(10**9)}"
        job, _ = self.store.create_job(owner="ada", request_id=request, kind="distill", spec={"x": request})
        self.say("created", job.id)

    def work(self) -> None:
        held = self.store.lease("w0", max_images=self.random.choice([1, IMAGES_A_UNIT * 2]))
        if held is None:
            return self.create()
        for unit in held.units:
            self.do(held.token, held.job.id, unit.index)
        self.store.free(held.token, retry=self.random.choice(["", "", "fault"]))
        self.say("freed", held.token)

    def do(self, token: str, job: str, unit: int) -> None:
        if unit == PREPARE:
            count = self.random.randrange(1, 5)
            specs = [UnitSpec(index, (index,), IMAGES_A_UNIT) for index in range(count)]
            self.store.prepared(token, {"header": job}, specs, num_images=count * IMAGES_A_UNIT)
            self.say("prepared", job, count)
        elif unit == PUBLISH:
            record = SetRecord(id=job[::-1], job=job, owner="ada", path=job, created_at=0.0)
            self.store.published(token, record, {})
            self.say("published", job, record.id)
        else:
            self.make(token, job, unit)

    def make(self, token: str, job: str, unit: int) -> None:
        state = self.blobs.put(f"{job} {unit}".encode())
        self.store.keep_checkpoint(token, unit, state)
        self.say("kept", job, unit, state)
        contents = [f"{job} {unit} {position}".encode() * 100 for position in range(IMAGES_A_UNIT)]
        images = [
            StoredImage(unit, position, self.blobs.put(content), len(content), {})
            for position, content in enumerate(contents)
        ]
        self.store.finish_unit(token, FinishedUnit(unit, tuple(images)))
        self.say("finished", job, unit, [hashlib.sha256(content).hexdigest() for content in contents])

    def forget(self) -> None:
        jobs, _ = self.store.jobs()
        if len(jobs) > 20 and jobs[-1].state in FINAL:
            self.say("deleting", jobs[-1].id)
            self.store.delete_job(jobs[-1].id)
            self.say("deleted", jobs[-1].id)
        elif jobs:
            job = self.store.request_cancel(self.random.choice(jobs).id)
            self.say("asked_to_end", job.id)


def main() -> None:
    """Work without end."""
    worker = Worker(Path(sys.argv[1]), int(sys.argv[2]))
    while True:
        worker.random.choices([worker.create, worker.work, worker.forget], weights=[2, 10, 1])[0]()


if __name__ == "__main__":
    main()
