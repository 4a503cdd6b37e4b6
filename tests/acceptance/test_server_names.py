"""Names that are not what they seem, through a whole server."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

pytest.importorskip("grpc", reason="the server extra is not installed")

from support.live_server import DIGITS, LiveServer, jobs_pb2

pytestmark = pytest.mark.slow

NAMES = ["<script>alert(1)</script>", "[/red]", "a b", "ß猫", "-rf", "x" * 120]


def test_classes_may_be_called_anything(tmp_path: Path) -> None:
    photos = tmp_path / "data" / "photos"
    for name in NAMES:
        (photos / name.replace("/", "\\")).mkdir(parents=True)
        for image in sorted((DIGITS / "3").iterdir())[:3]:
            shutil.copy(image, photos / name.replace("/", "\\"))
    with LiveServer(tmp_path / "root", photos.parent) as server:
        job = server.submit(server.register(photos), method="herding", ipc=2)
        found = server.finished(job)
        assert found.state == jobs_pb2.JOB_STATE_SUCCEEDED, found.failure
        images = server.images(job)
        assert {image.class_name for image in images} == {name.replace("/", "\\") for name in NAMES}
        assert len(images) == 2 * len(NAMES)
