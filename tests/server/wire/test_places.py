"""The server's folder is left out of what callers read; what only looks like it stays."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("grpc", reason="the server extra is not installed")

from limbeck_server.wire.places import text_without_root


@pytest.mark.parametrize(
    ("root", "text", "told"),
    [
        ("/srv", "nothing at /srv/datasets/1/train: gone", "nothing at datasets/1/train: gone"),
        ("/srv", "the disk of '/srv' is full.", "the disk of 'the server's folder' is full."),
        (
            "/srv",
            "/data/srv/photos and /srv2/photos and /srv.old/x",
            "/data/srv/photos and /srv2/photos and /srv.old/x",
        ),
        ("/srv/lim", "/srv/limbeck/photos", "/srv/limbeck/photos"),
        ("/srv/a+b", "/srv/a+b/blobs", "blobs"),
        ("/", "/etc/x", "/etc/x"),
    ],
)
def test_only_the_folder_itself_is_left_out(root: str, text: str, told: str) -> None:
    assert text_without_root(text, Path(root)) == told
