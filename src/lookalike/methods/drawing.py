"""The drawing that methods with weighted training images share: classes, and the heaviest images."""

from __future__ import annotations

import numpy as np
from matplotlib.patches import Rectangle

from lookalike.contracts.drawing import EDGE, HEAD, PAGE, QUERY, RIGHT, WRONG, Canvas, format_share
from lookalike.contracts.explanation import Exemplar, Explanation
from lookalike.data.prepared import PreparedData

SHOWN_CLASSES, SHOWN_IMAGES = 3, 10
ROW, IMAGE, GAP = 0.88, 0.43, 0.055  # inches
BARS, BAR = 0.5, 0.11


def draw_weights(records: list[Explanation], data: PreparedData) -> Canvas:
    """One row a query: the query, its most probable classes, its ten heaviest training images.

    After the figure of the NW head's paper. Blue marks the query's true class, orange another.
    """
    canvas = Canvas([ROW] * len(records), data.class_names)
    images_at = PAGE - EDGE - SHOWN_IMAGES * (IMAGE + GAP) + GAP
    bars_at = QUERY + 0.7
    canvas.add_headings(
        {EDGE: "query", bars_at: "probability", images_at: "heaviest training images: class and weight"}
    )
    for number, record in enumerate(records):
        top = HEAD + number * ROW
        canvas.add_query(EDGE, top, record, data.picture(record.query))
        _add_bars(canvas, bars_at, top, record)
        for place, exemplar in enumerate(record.exemplars[:SHOWN_IMAGES]):
            left = images_at + place * (IMAGE + GAP)
            add_exemplar(canvas, left, top, exemplar, format_share(exemplar.weight), record, data)
    return canvas


def add_exemplar(
    canvas: Canvas, left: float, top: float, exemplar: Exemplar, number: str, record: Explanation, data: PreparedData
) -> None:
    """A training image above its class and a number.

    Args:
        canvas: The drawing.
        left: Place from the left, in inches.
        top: Place from the top, in inches.
        exemplar: The training image.
        number: Text below its class.
        record: Explanation that it belongs to.
        data: The data set.
    """
    colour = RIGHT if exemplar.label == record.label else WRONG
    caption = f"{canvas.name(exemplar.label)}\n{number}"
    canvas.add_pixels(left, top, IMAGE, data.picture(exemplar.id), colour, caption)


def _add_bars(canvas: Canvas, left: float, top: float, record: Explanation) -> None:
    """The most probable classes; a full bar is BARS inches long and means 1."""
    probabilities = np.array(record.probabilities)
    axes = canvas.axes
    for place, label in enumerate(np.argsort(-probabilities, kind="stable")[:SHOWN_CLASSES]):
        y = top + 0.04 + place * (BAR + 0.06)
        width = probabilities[label] * BARS
        axes.add_patch(Rectangle((left, y), BARS, BAR, facecolor="0.93", lw=0))
        axes.add_patch(Rectangle((left, y), width, BAR, facecolor=RIGHT if label == record.label else WRONG, lw=0))
        axes.text(left - 0.05, y + BAR / 2, canvas.name(label), ha="right", va="center", fontsize=6)
        axes.text(left + BARS + 0.05, y + BAR / 2, f"{probabilities[label]:.2f}", va="center", fontsize=6)
