"""The drawing of support influence: the training images that helped and harmed a query most."""

from __future__ import annotations

from lookalike.contracts.drawing import EDGE, HEAD, PAGE, Canvas, format_signed
from lookalike.contracts.explanation import Explanation
from lookalike.data.prepared import PreparedData
from lookalike.methods.drawing import IMAGE, ROW, add_exemplar

SHOWN = 5
STEP = IMAGE + 0.13  # inches


def draw_influence(records: list[Explanation], data: PreparedData) -> Canvas:
    """One row a query: the query, its five most helpful and its five most harmful training images.

    Numbers are the change of the query's loss, in nats, when the image is taken away.
    """
    canvas = Canvas([ROW] * len(records), data.class_names)
    harmful_at = PAGE - EDGE - SHOWN * STEP + 0.13
    helpful_at = harmful_at - SHOWN * STEP - 0.2
    canvas.add_headings(
        {EDGE: "query", helpful_at: "most helpful: class, change of loss (nats)", harmful_at: "most harmful"}
    )
    for number, record in enumerate(records):
        top = HEAD + number * ROW
        canvas.add_query(EDGE, top, record, data.picture(record.query))
        ranked = [(e.influence, e) for e in record.exemplars if e.influence is not None]
        ranked.sort(key=lambda pair: -pair[0])
        helpful = [pair for pair in ranked if pair[0] > 0][:SHOWN]
        harmful = [pair for pair in ranked[::-1] if pair[0] < 0][:SHOWN]
        for left, side in ((helpful_at, helpful), (harmful_at, harmful)):
            for place, (value, exemplar) in enumerate(side):
                add_exemplar(canvas, left + place * STEP, top, exemplar, format_signed(value), record, data)
    return canvas
