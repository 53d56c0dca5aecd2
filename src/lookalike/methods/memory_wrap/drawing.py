"""Drawings of memories: the images that a query used, and integrated gradients on them."""

from __future__ import annotations

import numpy as np
from matplotlib.patches import Rectangle

from lookalike.contracts.drawing import EDGE, GREY, HEAD, PAGE, QUERY, RIGHT, WRONG, Canvas, format_share
from lookalike.contracts.explanation import Explanation
from lookalike.data.prepared import PreparedData

MEMORY_IMAGES, MEMORY_LINES, MEMORY_IMAGE, MEMORY_ROW = 13, 2, 0.37, 0.62  # images, lines, inches, inches
LEAST_ROW = 0.94  # inches: a query between its two names
MAP_IMAGE, MAP_ROW = 0.8, 1.14


def draw_memory(records: list[Explanation], data: PreparedData) -> Canvas:
    """One block a query: the query and the memory images it used, the heaviest first.

    After the memory images of Memory Wrap's papers. Blue marks an image that gets the query's class when the model
    classifies it (an example), orange one that gets another (a counterfactual).
    """
    lines = [max(1, min(-(-len(record.exemplars) // MEMORY_IMAGES), MEMORY_LINES)) for record in records]
    heights = [max(count * MEMORY_ROW + 0.18, LEAST_ROW) for count in lines]
    canvas = Canvas(heights, data.class_names)
    step = MEMORY_IMAGE + 0.06
    images_at = PAGE - EDGE - MEMORY_IMAGES * step + 0.06
    canvas.add_headings({EDGE: "query", images_at: "memory images it used: class they get, weight"})
    top = HEAD
    for record, count, height in zip(records, lines, heights, strict=True):
        canvas.add_query(EDGE, top, record, data.picture(record.query))
        for place, exemplar in enumerate(record.exemplars[: count * MEMORY_IMAGES]):
            line, column = divmod(place, MEMORY_IMAGES)
            given = exemplar.label if exemplar.predicted is None else exemplar.predicted
            canvas.add_pixels(
                images_at + column * step,
                top + line * MEMORY_ROW,
                MEMORY_IMAGE,
                data.picture(exemplar.id),
                RIGHT if given == record.predicted else WRONG,
                f"{canvas.name(given)}\n{format_share(exemplar.weight)}",
            )
        left = len(record.exemplars) - count * MEMORY_IMAGES
        note = f"uses {len(record.exemplars)}" + (f"\n({left} not shown)" if left > 0 else "")
        canvas.axes.text(EDGE + QUERY + 0.06, top, note, va="top", fontsize=6, linespacing=1.1)
        top += height
    return canvas


def draw_attributions(records: list[Explanation], data: PreparedData) -> Canvas:
    """One row a query: the query, its example and its counterfactual, each with what its pixels add to the logit.

    Every map has its own scale, whose end stands below it: the query's pixels often add tens of times what a memory
    image's do.
    """
    canvas = Canvas([MAP_ROW] * len(records), data.class_names)
    places = [EDGE + number * (PAGE - EDGE) / 3 for number in range(3)]
    titles = ("query", "example: gets the same class", "counterfactual: gets another")
    canvas.add_headings(dict(zip(places, titles, strict=True)))
    for number, record in enumerate(records):
        top = HEAD + number * MAP_ROW
        caption = f"true {canvas.name(record.label)}\npredicted {canvas.name(record.predicted)}"
        frame = RIGHT if record.label == record.predicted else WRONG
        canvas.add_pixels(places[0], top, MAP_IMAGE, data.picture(record.query), frame, caption)
        _add_map(canvas, places[0] + MAP_IMAGE + 0.06, top, record.attribution)
        for left, exemplar in ((places[1], record.example), (places[2], record.counterfactual)):
            if exemplar is None:
                text = "none among the\nimages it used"
                canvas.axes.text(left, top + MAP_IMAGE / 2, text, va="center", fontsize=6.5)
                continue
            given = record.predicted if exemplar.predicted is None else exemplar.predicted
            caption = f"gets {canvas.name(given)}\nweight {format_share(exemplar.weight)}"
            frame = RIGHT if given == record.predicted else WRONG
            canvas.add_pixels(left, top, MAP_IMAGE, data.picture(exemplar.id), frame, caption)
            _add_map(canvas, left + MAP_IMAGE + 0.06, top, exemplar.attribution)
    return canvas


def _add_map(canvas: Canvas, left: float, top: float, values: list[list[float]] | None) -> None:
    """A map in a square: orange adds to the logit of the query's class, violet takes away."""
    if values is None:
        return
    shown = np.array(values)
    scale = float(np.abs(shown).max()) or 1.0
    height, width = (MAP_IMAGE * side / max(shown.shape) for side in shown.shape)
    x, y = left + (MAP_IMAGE - width) / 2, top + (MAP_IMAGE - height) / 2
    canvas.axes.imshow(
        shown, cmap="PuOr_r", vmin=-scale, vmax=scale, extent=(x, x + width, y + height, y), interpolation="nearest"
    )
    canvas.axes.add_patch(Rectangle((x, y), width, height, fill=False, edgecolor=GREY, lw=0.5))
    canvas.add_caption(left, top, MAP_IMAGE, f"full colour\n\N{PLUS-MINUS SIGN}{format_share(scale)}")
    canvas.reset_limits()
