"""preview.png: the first images of the first classes, a class a row, its name at the left."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

_MAX_ROWS = 10
_MAX_COLUMNS = 10
_CELL = 72
_GAP = 4
_NAME_WIDTH = 128
_NAME_LENGTH = 22


def preview(classes: Sequence[tuple[str, Sequence[Path]]]) -> Image.Image:
    """A grid of images.

    Args:
        classes: The name and the image files of each class. Ten classes and ten images of each are shown.
    """
    shown = [(name, files[:_MAX_COLUMNS]) for name, files in classes[:_MAX_ROWS]]
    columns = max((len(files) for _, files in shown), default=0)
    step = _CELL + _GAP
    canvas = Image.new("RGB", (_NAME_WIDTH + columns * step + _GAP, len(shown) * step + _GAP), "white")
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default()
    for row, (name, files) in enumerate(shown):
        top = _GAP + row * step
        # Pillow's own font has no letters beyond Latin.
        text = name.encode("ascii", "replace").decode()
        text = text if len(text) <= _NAME_LENGTH else f"{text[: _NAME_LENGTH - 3]}..."
        draw.text((_GAP, top + _CELL / 2), text, fill="black", font=font)
        for column, file in enumerate(files):
            with Image.open(file) as image:
                cell = image.convert("RGB").resize((_CELL, _CELL), Image.Resampling.LANCZOS)
            canvas.paste(cell, (_NAME_WIDTH + column * step, top))
    return canvas
