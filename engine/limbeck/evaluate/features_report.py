"""The report on classifiers of frozen features: the linear probes and classifier inheritance."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from limbeck.evaluate.page import Overrides, overrides, page, percent, pictures, table
from limbeck.evaluate.probe import Accuracy
from limbeck.labels.pixels import Pixels


def features_report(
    rows: Sequence[Accuracy], distilled: Pixels, *, title: str, about: str, not_followed: Overrides
) -> str:
    """The page.

    Args:
        rows: What came out.
        distilled: The set whose images are shown.
        title: What was evaluated.
        about: How, in a sentence.
        not_followed: Of the published protocol.
    """
    cells = [[row.name, f"{row.images:,}", percent(row.mean, row.spread), str(len(row.accuracies))] for row in rows]
    parts = [
        f"<p>{escape(about)}</p>",
        table(["trained on", "images", "accuracy", "runs"], cells),
        "<p>Test accuracy, mean ± standard deviation over runs.</p>",
        overrides({"every classifier": not_followed}),
        pictures(distilled),
    ]
    return page(title, parts)
