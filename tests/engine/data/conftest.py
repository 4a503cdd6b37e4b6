"""Real image folders, made on the spot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from PIL import Image


@pytest.fixture
def image_folder(tmp_path: Path) -> Callable[[Sequence[str]], Path]:
    """Makes `<tmp_path>/data` with these files, each an image of 8 x 8 pixels, gray level 10 times its position."""

    def make(names: Sequence[str]) -> Path:
        root = tmp_path / "data"
        root.mkdir()
        for position, name in enumerate(names):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (8, 8), 10 * position).save(root / name)
        return root

    return make
