"""What the acceptance tests share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Eight real images of each of ten classes, below a data root of their own."""
    from support.live_server import some_photos  # needs the server extra

    return some_photos(tmp_path / "data" / "photos")
