"""Drawings of explanation records by whole images; `patch_drawing` has those by patches. Nothing else draws them."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lookalike.data.prepared import PreparedData
from lookalike.explanation.canvas import (
    EDGE,
    HEAD,
    QUERY,
    add_captioned,
    add_headings,
    add_query,
    make_canvas,
    set_limits,
    share,
    short,
    signed,
)
from lookalike.explanation.record import Exemplar, Explanation
from lookalike.reporting.style import GREY, PAGE, RIGHT, WRONG

SHOWN_CLASSES, SHOWN_IMAGES, SHOWN_INFLUENCE = 3, 10, 5
ROW, IMAGE, GAP = 0.88, 0.43, 0.055  # inches
BARS, BAR = 0.5, 0.11
MEMORY_IMAGES, MEMORY_LINES, MEMORY_IMAGE, MEMORY_ROW = 13, 2, 0.37, 0.62
HEAT_IMAGE, HEAT_ROW = 0.8, 1.14


def draw_weights(records: list[Explanation], data: PreparedData) -> Figure:
    """One row a query: the query, its most probable classes, its ten heaviest training images.

    After the figure of the NW head's paper. Blue marks the query's true class, orange another.
    """
    figure, axes = make_canvas([ROW] * len(records))
    images_at = PAGE - EDGE - SHOWN_IMAGES * (IMAGE + GAP) + GAP
    bars_at = QUERY + 0.7
    add_headings(axes, {EDGE: "query", bars_at: "probability", images_at: "heaviest training images: class and weight"})
    for number, record in enumerate(records):
        top = HEAD + number * ROW
        add_query(axes, EDGE, top, record, data)
        _bars(axes, bars_at, top, record, data)
        for place, exemplar in enumerate(record.exemplars[:SHOWN_IMAGES]):
            _exemplar(axes, images_at + place * (IMAGE + GAP), top, exemplar, share(exemplar.weight), record, data)
    return figure


def draw_influence(records: list[Explanation], data: PreparedData) -> Figure:
    """One row a query: the query, its five most helpful and its five most harmful training images.

    Numbers are the change of the query's loss, in nats, when the image is taken away.
    """
    figure, axes = make_canvas([ROW] * len(records))
    step = IMAGE + 0.13
    harmful_at = PAGE - EDGE - SHOWN_INFLUENCE * step + 0.13
    helpful_at = harmful_at - SHOWN_INFLUENCE * step - 0.2
    add_headings(
        axes,
        {EDGE: "query", helpful_at: "most helpful: class, change of loss (nats)", harmful_at: "most harmful"},
    )
    for number, record in enumerate(records):
        top = HEAD + number * ROW
        add_query(axes, EDGE, top, record, data)
        known = [(e.influence, e) for e in record.exemplars if e.influence is not None]
        known.sort(key=lambda pair: -pair[0])
        helpful = [pair for pair in known if pair[0] > 0][:SHOWN_INFLUENCE]
        harmful = [pair for pair in known[::-1] if pair[0] < 0][:SHOWN_INFLUENCE]
        for left, side in ((helpful_at, helpful), (harmful_at, harmful)):
            for place, (value, exemplar) in enumerate(side):
                _exemplar(axes, left + place * step, top, exemplar, signed(value), record, data)
    return figure


def draw_memory(records: list[Explanation], data: PreparedData) -> Figure:
    """One block a query: the query and the memory images it used, the heaviest first.

    After the memory images of Memory Wrap's papers. Blue marks an image that gets the query's class when the model
    classifies it (an example), orange one that gets another (a counterfactual).
    """
    lines = [max(1, min(-(-len(record.exemplars) // MEMORY_IMAGES), MEMORY_LINES)) for record in records]
    heights = [max(count * MEMORY_ROW + 0.18, ROW + 0.06) for count in lines]
    figure, axes = make_canvas(heights)
    step = MEMORY_IMAGE + 0.06
    images_at = PAGE - EDGE - MEMORY_IMAGES * step + 0.06
    add_headings(axes, {EDGE: "query", images_at: "memory images it used: class they get, weight"})
    top = HEAD
    for record, count, height in zip(records, lines, heights, strict=True):
        add_query(axes, EDGE, top, record, data)
        for place, exemplar in enumerate(record.exemplars[: count * MEMORY_IMAGES]):
            line, column = divmod(place, MEMORY_IMAGES)
            given = exemplar.label if exemplar.predicted is None else exemplar.predicted
            add_captioned(
                axes,
                images_at + column * step,
                top + line * MEMORY_ROW,
                MEMORY_IMAGE,
                exemplar.id,
                data,
                RIGHT if given == record.predicted else WRONG,
                f"{short(data.class_names[given])}\n{share(exemplar.weight)}",
            )
        left = len(record.exemplars) - count * MEMORY_IMAGES
        note = f"uses {len(record.exemplars)}" + (f"\n({left} not shown)" if left > 0 else "")
        axes.text(EDGE + QUERY + 0.06, top, note, va="top", fontsize=6, linespacing=1.1)
        top += height
    return figure


def draw_heat_maps(records: list[Explanation], data: PreparedData) -> Figure:
    """One row a query: the query, its example and its counterfactual, each with what its pixels add to the logit.

    Every map has its own scale, whose end stands below it: the query's pixels often add tens of times what a memory
    image's do.
    """
    figure, axes = make_canvas([HEAT_ROW] * len(records))
    places = [EDGE + number * (PAGE - EDGE) / 3 for number in range(3)]
    titles = ("query", "example: gets the same class", "counterfactual: gets another")
    add_headings(axes, dict(zip(places, titles, strict=True)))
    for number, record in enumerate(records):
        top = HEAD + number * HEAT_ROW
        names = data.class_names
        line = f"true {short(names[record.label])}\npredicted {short(names[record.predicted])}"
        colour = RIGHT if record.label == record.predicted else WRONG
        add_captioned(axes, places[0], top, HEAT_IMAGE, record.query, data, colour, line)
        _heat_map(axes, places[0] + HEAT_IMAGE + 0.06, top, record.heat_map)
        for left, exemplar in ((places[1], record.example), (places[2], record.counterfactual)):
            if exemplar is None:
                axes.text(left, top + HEAT_IMAGE / 2, "none among the\nimages it used", va="center", fontsize=6.5)
                continue
            given = record.predicted if exemplar.predicted is None else exemplar.predicted
            line = f"gets {short(names[given])}\nweight {share(exemplar.weight)}"
            frame = RIGHT if given == record.predicted else WRONG
            add_captioned(axes, left, top, HEAT_IMAGE, exemplar.id, data, frame, line)
            _heat_map(axes, left + HEAT_IMAGE + 0.06, top, exemplar.heat_map)
    return figure


def _heat_map(axes: Axes, left: float, top: float, values: list[list[float]] | None) -> None:
    """A map in a square: orange adds to the logit of the query's class, violet takes away."""
    if values is None:
        return
    shown = np.array(values)
    scale = float(np.abs(shown).max()) or 1.0
    height, width = (HEAT_IMAGE * side / max(shown.shape) for side in shown.shape)
    x, y = left + (HEAT_IMAGE - width) / 2, top + (HEAT_IMAGE - height) / 2
    axes.imshow(
        shown, cmap="PuOr_r", vmin=-scale, vmax=scale, extent=(x, x + width, y + height, y), interpolation="nearest"
    )
    axes.add_patch(Rectangle((x, y), width, height, fill=False, edgecolor=GREY, lw=0.5))
    text = f"full colour\n\N{PLUS-MINUS SIGN}{share(scale)}"
    axes.text(left + HEAT_IMAGE / 2, top + HEAT_IMAGE + 0.03, text, ha="center", va="top", fontsize=6, linespacing=1.0)
    set_limits(axes)


def _exemplar(
    axes: Axes, left: float, top: float, exemplar: Exemplar, number: str, record: Explanation, data: PreparedData
) -> None:
    colour = RIGHT if exemplar.label == record.label else WRONG
    text = f"{short(data.class_names[exemplar.label])}\n{number}"
    add_captioned(axes, left, top, IMAGE, exemplar.id, data, colour, text)


def _bars(axes: Axes, left: float, top: float, record: Explanation, data: PreparedData) -> None:
    """The most probable classes; a full bar is BARS inches long and means 1."""
    probabilities = np.array(record.probabilities)
    for place, label in enumerate(np.argsort(-probabilities, kind="stable")[:SHOWN_CLASSES]):
        y = top + 0.04 + place * (BAR + 0.06)
        width = probabilities[label] * BARS
        axes.add_patch(Rectangle((left, y), BARS, BAR, facecolor="0.93", lw=0))
        axes.add_patch(Rectangle((left, y), width, BAR, facecolor=RIGHT if label == record.label else WRONG, lw=0))
        axes.text(left - 0.05, y + BAR / 2, short(data.class_names[label]), ha="right", va="center", fontsize=6)
        axes.text(left + BARS + 0.05, y + BAR / 2, f"{probabilities[label]:.2f}", va="center", fontsize=6)
