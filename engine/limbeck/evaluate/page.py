"""The parts of a report to read: one HTML file with its pictures inside, which asks no network for anything.

Every text that comes from outside (class names, folder names) is escaped.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from PIL import Image

from limbeck import __version__
from limbeck.arrays import Array
from limbeck.labels.pixels import Pixels

SHOWN_CLASSES = 20
SHOWN_IMAGES = 10

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; margin: 1rem 0 }
th, td { padding: .3rem .8rem; border-bottom: 1px solid #ddd; text-align: right }
th:first-child, td:first-child { text-align: left }
figure { margin: 1rem 0 } figcaption { color: #666 }
img.picture { width: 64px; height: 64px; image-rendering: auto; margin: 1px }
.name { display: inline-block; width: 9rem; overflow-wrap: anywhere; vertical-align: middle }
pre { background: #f6f6f6; padding: .8rem; overflow-x: auto }
"""

Overrides = Mapping[str, Mapping[str, object]]
"""What was not followed of a protocol: by name, each number as published and as used."""


def page(title: str, parts: Sequence[str]) -> str:
    """The whole file: a heading, `parts` as they are, and limbeck's version."""
    body = "\n".join([f"<h1>{escape(title)}</h1>", *parts, f"<p>limbeck {escape(__version__)}</p>"])
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


def overrides(by_part: Mapping[str, Overrides]) -> str:
    """What was not as published, of each kind of images; or that all was."""
    rows = [
        [trained_on, name, str(pair["published"]), str(pair["used"])]
        for trained_on, pairs in by_part.items()
        for name, pair in pairs.items()
    ]
    if not rows:
        return "<p>The protocol was followed as published.</p>"
    return "<h2>Not as published</h2>" + table(["trained on", "what", "published", "used"], rows)


def pictures(pixels: Pixels) -> str:
    """The first images of the first classes."""
    rows = []
    for label, name in enumerate(pixels.class_names[:SHOWN_CLASSES]):
        members = np.flatnonzero(pixels.labels == label)[:SHOWN_IMAGES]
        images = "".join(f'<img class="picture" alt="" src="{_data_uri(pixels.images[row])}">' for row in members)
        rows.append(f'<div><span class="name">{escape(name)}</span>{images}</div>')
    left = len(pixels.class_names) - len(rows)
    more = f"<p>… and {left} more classes</p>" if left > 0 else ""
    return "<h2>The images</h2>" + "".join(rows) + more


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; every cell is escaped."""
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def percent(mean: float, spread: float) -> str:
    """A mean and a standard deviation of fractions, in percent."""
    return f"{100 * mean:.1f} ± {100 * spread:.1f} %"


def _data_uri(image: Array) -> str:
    stream = io.BytesIO()
    Image.fromarray(image.transpose(1, 2, 0)).save(stream, "PNG")
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"
