"""The report on students: how good they became, on what, on the way, and how they were trained."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from html import escape
from itertools import cycle

import numpy as np

from limbeck.evaluate.page import overrides, page, percent, pictures, table
from limbeck.evaluate.results import Evaluation, Worth
from limbeck.labels.pixels import Pixels

_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Those of Okabe and Ito, which people with color blindness tell apart; one for each baseline there is."""


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
        f"({evaluation.parameters:,} parameters, {escape(student.norm_used)} norm), {evaluation.image_size} px, "
        f"{len(evaluation.class_names)} classes."
    )
    parts = [
        f"<p>{about}</p>",
        _results(evaluation.worths),
        "<p>Test accuracy, mean ± standard deviation over runs. <i>Best</i> is the best test on the way, as published "
        "figures are, and is chosen on the test images; <i>last</i> is the one after the last epoch.</p>",
        _scores(evaluation.scores),
        overrides({worth.trained_on: worth.overrides for worth in evaluation.worths}),
        _curves(evaluation.worths),
        pictures(distilled[0]),
        _teacher(evaluation),
        "<h2>How each was trained</h2>",
        *(
            f"<h3>{escape(worth.trained_on)}</h3><pre>{escape(json.dumps(asdict(worth.recipe), indent=1))}</pre>"
            for worth in evaluation.worths
        ),
    ]
    return page(title, parts)


def _results(worths: Sequence[Worth]) -> str:
    rows = [
        [
            worth.trained_on,
            f"{worth.images:,}",
            percent(*worth.best),
            percent(*worth.last),
            str(len(worth.runs)),
            f"{np.mean([run.seconds for run in worth.runs]):.0f}",
        ]
        for worth in worths
    ]
    return table(["trained on", "images", "best", "last", "runs", "seconds a run"], rows)


def _scores(scores: Mapping[str, float]) -> str:
    if not scores:
        return ""
    rows = [[name.replace("_", " "), f"{value:.3f}"] for name, value in scores.items()]
    return "<h2>DD-Ranking</h2>" + table(["score", "of fractions"], rows)


def _curves(worths: Sequence[Worth]) -> str:
    """Test accuracy over epochs, a line a run, as inline SVG."""
    width, height, left, bottom = 640, 260, 48, 28
    lines, names = [], []
    for color, worth in zip(cycle(_COLORS), worths, strict=False):
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


def _teacher(evaluation: Evaluation) -> str:
    if evaluation.teacher is None:
        return ""
    found = evaluation.teacher["accuracy"]
    worth = f", test accuracy {100 * found:.1f} %" if isinstance(found, float) else ""
    return f"<p>Teacher: {escape(str(evaluation.teacher['key']))}{worth}.</p>"
