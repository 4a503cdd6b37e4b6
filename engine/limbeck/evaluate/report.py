"""A report to read: one HTML file with its pictures inside, which asks no network for anything.

Every text that comes from outside (class names, folder names) is escaped.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from html import escape

import numpy as np
from PIL import Image

from limbeck import __version__
from limbeck.arrays import Array
from limbeck.evaluate.results import Evaluation, Worth
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
_COLORS = ("#0072b2", "#d55e00", "#009e73")


def report(evaluation: Evaluation, distilled: Sequence[Pixels], *, title: str) -> str:
    """The page.

    Args:
        evaluation: What came out.
        distilled: The sets, of which the first is shown.
        title: What was evaluated.
    """
    student = evaluation.student
    about = (
        f"Protocol <b>{escape(evaluation.protocol)}</b>, student <b>{escape(student.name)}</b> "
        f"({evaluation.parameters:,} parameters, {escape(student.norm)} norm), {evaluation.image_size} px, "
        f"{len(evaluation.class_names)} classes."
    )
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{about}</p>",
        _results(evaluation.worths),
        "<p>Test accuracy, mean ± standard deviation over runs. <i>Best</i> is the best test on the way, as published "
        "figures are, and is chosen on the test images; <i>last</i> is the one after the last epoch.</p>",
        _scores(evaluation.scores),
        _overrides(evaluation.worths),
        _curves(evaluation.worths),
        _pictures(distilled[0]),
        _teacher(evaluation),
        "<h2>How each was trained</h2>",
        *(
            f"<h3>{escape(worth.trained_on)}</h3><pre>{escape(json.dumps(asdict(worth.recipe), indent=1))}</pre>"
            for worth in evaluation.worths
        ),
        f"<p>limbeck {escape(__version__)}</p>",
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )


def _results(worths: Sequence[Worth]) -> str:
    rows = [
        [
            worth.trained_on,
            f"{worth.images:,}",
            _percent(*worth.best),
            _percent(*worth.last),
            str(len(worth.runs)),
            f"{np.mean([run.seconds for run in worth.runs]):.0f}",
        ]
        for worth in worths
    ]
    return _table(["trained on", "images", "best", "last", "runs", "seconds a run"], rows)


def _scores(scores: Mapping[str, float]) -> str:
    if not scores:
        return ""
    rows = [[name.replace("_", " "), f"{value:.3f}"] for name, value in scores.items()]
    return "<h2>DD-Ranking</h2>" + _table(["score", "of fractions"], rows)


def _overrides(worths: Sequence[Worth]) -> str:
    rows = [
        [worth.trained_on, name, str(pair["published"]), str(pair["used"])]
        for worth in worths
        for name, pair in worth.overrides.items()
    ]
    if not rows:
        return "<p>The protocol was followed as published.</p>"
    return "<h2>Not as published</h2>" + _table(["trained on", "what", "published", "used"], rows)


def _curves(worths: Sequence[Worth]) -> str:
    """Test accuracy over epochs, a line a run, as inline SVG."""
    width, height, left, bottom = 640, 260, 48, 28
    lines, names = [], []
    for color, worth in zip(_COLORS, worths, strict=False):
        for run in worth.runs:
            points = " ".join(
                f"{left + epoch / worth.recipe.epochs * (width - left):.1f},{(1 - accuracy) * (height - bottom):.1f}"
                for epoch, accuracy in run.curve
            )
            lines.append(f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="1.5"/>')
            lines += [
                f'<circle cx="{point.split(",")[0]}" cy="{point.split(",")[1]}" r="2" fill="{color}"/>'
                for point in points.split()
            ]
        names.append(f'<span style="color:{color}">{escape(worth.trained_on)}</span>')
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = (1 - share) * (height - bottom)
        lines.append(f'<line x1="{left}" x2="{width}" y1="{y}" y2="{y}" stroke="#ddd"/>')
        lines.append(f'<text x="0" y="{y + 12}" font-size="12" fill="#666">{100 * share:.0f} %</text>')
    lines.append(
        f'<text x="{left}" y="{height - 6}" font-size="12" fill="#666">share of each run\'s epochs, 0 to 1</text>'
    )
    return (
        f'<figure><svg viewBox="0 0 {width} {height}" width="{width}" role="img">{"".join(lines)}</svg>'
        f"<figcaption>Test accuracy while training: {', '.join(names)}</figcaption></figure>"
    )


def _pictures(pixels: Pixels) -> str:
    rows = []
    for label, name in enumerate(pixels.class_names[:SHOWN_CLASSES]):
        members = np.flatnonzero(pixels.labels == label)[:SHOWN_IMAGES]
        images = "".join(f'<img class="picture" alt="" src="{_data_uri(pixels.images[row])}">' for row in members)
        rows.append(f'<div><span class="name">{escape(name)}</span>{images}</div>')
    left = len(pixels.class_names) - len(rows)
    more = f"<p>… and {left} more classes</p>" if left > 0 else ""
    return "<h2>The images</h2>" + "".join(rows) + more


def _teacher(evaluation: Evaluation) -> str:
    if evaluation.teacher is None:
        return ""
    found = evaluation.teacher["accuracy"]
    worth = f", test accuracy {100 * found:.1f} %" if isinstance(found, float) else ""
    return f"<p>Teacher: {escape(str(evaluation.teacher['key']))}{worth}.</p>"


def _data_uri(image: Array) -> str:
    stream = io.BytesIO()
    Image.fromarray(image.transpose(1, 2, 0)).save(stream, "PNG")
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _percent(mean: float, spread: float) -> str:
    return f"{100 * mean:.1f} ± {100 * spread:.1f} %"
