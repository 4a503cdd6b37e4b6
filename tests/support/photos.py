"""A few of the shipped photos, so that real commands are quick."""

from __future__ import annotations

import shutil
from pathlib import Path

PHOTOS = Path(__file__).parents[2] / "examples/data/sign_digits/test"


def few_photos(root: Path, *, each: int, digits: str = "01") -> Path:
    """`root` with the first `each` photos of some digits, in class folders."""
    for digit in digits:
        (root / digit).mkdir()
        for photo in sorted((PHOTOS / digit).iterdir())[:each]:
            shutil.copy(photo, root / digit)
    return root
