"""Drawings of prototypes: which ones a query looks like, and what they stand for."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from lookalike.data.prepared import PreparedData
from lookalike.explanation.canvas import (
    EDGE,
    HEAD,
    QUERY,
    add_headings,
    add_pixels,
    add_query,
    make_canvas,
    share,
    short,
)
from lookalike.explanation.record import Explanation
from lookalike.reporting.style import PAGE, RIGHT, WRONG

SHOWN_MATCHES, SHOWN_NEAREST = 3, 3
ROW, IMAGE, SMALL, GAP = 0.95, 0.52, 0.36, 0.05  # inches
SHEET_IMAGE, SHEET_ROW, SHEET_NEAREST = 0.5, 0.7, 3
SHEET_CLASSES, SHEET_COMPONENTS = 10, 3
WAY_IMAGE, WAY_ROW = 0.62, 0.84


def draw_looks_like(records: list[Explanation], data: PreparedData) -> Figure:
    """One row a query: the query and the prototypes it looks like, each with its nearest training images.

    The number below a prototype is its share of the query among the prototypes of its class. Blue marks the query's
    true class, orange another.
    """
    figure, axes = make_canvas([ROW] * len(records))
    begin = EDGE + QUERY + 0.75
    step = (PAGE - EDGE - begin) / SHOWN_MATCHES
    add_headings(axes, {EDGE: "query", begin: "looks like these prototypes, and their nearest training images"})
    for number, record in enumerate(records):
        top = HEAD + number * ROW
        add_query(axes, EDGE, top, record, data)
        for place, match in enumerate(record.prototypes[:SHOWN_MATCHES]):
            left = begin + place * step
            frame = RIGHT if match.label == record.label else WRONG
            add_pixels(axes, left, top, IMAGE, np.array(match.picture, np.uint8), frame)
            name, within = short(data.class_names[match.label]), f"in its class {match.responsibility:.2f}"
            text = f"{name}: {share(match.weight)}\n{within}"
            axes.text(left, top + IMAGE + 0.03, text, va="top", fontsize=6, linespacing=1.1)
            for beside, image in enumerate(match.nearest[:SHOWN_NEAREST]):
                at = left + IMAGE + 0.08 + beside * (SMALL + GAP)
                add_pixels(axes, at, top + (IMAGE - SMALL) / 2, SMALL, data.picture(image), None)
    return figure


def draw_prototypes(found: dict[str, np.ndarray], data: PreparedData) -> Figure:
    """One row a prototype: its picture, samples at rising temperatures, its nearest training images.

    The most used prototypes of the first ten classes.
    """
    rows = [
        (label, component)
        for label in range(min(SHEET_CLASSES, len(found["usage"])))
        for component in np.argsort(-found["usage"][label], kind="stable")[:SHEET_COMPONENTS]
    ]
    columns = [rows[0::2], rows[1::2]]
    figure, axes = make_canvas([SHEET_ROW] * len(columns[0]))
    width = (PAGE - EDGE) / 2
    samples, step = found["samples"].shape[2], SHEET_IMAGE + GAP
    for side, part in enumerate(columns):
        left = EDGE + side * width
        samples_at, nearest_at = left + step + 0.06, left + step + 0.12 + samples * (SMALL + GAP)
        add_headings(axes, {left: "mean", samples_at: "samples", nearest_at: "nearest training"})
        for number, (label, component) in enumerate(part):
            top = HEAD + number * SHEET_ROW
            middle = top + (SHEET_IMAGE - SMALL) / 2
            add_pixels(axes, left, top, SHEET_IMAGE, _last(found["picture"][label, component]), RIGHT)
            name = f"{short(data.class_names[label])}: {found['usage'][label, component]:.2f} of its class"
            axes.text(left, top + SHEET_IMAGE + 0.02, name, va="top", fontsize=6)
            for place, pixels in enumerate(found["samples"][label, component]):
                add_pixels(axes, samples_at + place * (SMALL + GAP), middle, SMALL, _last(pixels), None)
            for place, image in enumerate(found["nearest"][label, component][:SHEET_NEAREST]):
                at = nearest_at + place * (SMALL + GAP)
                add_pixels(axes, at, middle, SMALL, data.picture(int(image)), None)
    return figure


def draw_between(found: dict[str, np.ndarray], data: PreparedData) -> Figure:
    """One row a pair of classes: pictures on the straight way between the latents of two prototypes."""
    ways = found["between"]
    figure, axes = make_canvas([WAY_ROW] * len(ways))
    left = EDGE + 0.75
    step = (PAGE - EDGE - left) / ways.shape[1]
    add_headings(axes, {EDGE: "from, to", left: "pictures on the straight way between two prototypes' latents"})
    for number, (pair, pixels) in enumerate(zip(found["ends"], ways, strict=True)):
        top = HEAD + number * WAY_ROW
        first, last = (short(data.class_names[label]) for label in pair)
        axes.text(EDGE, top + WAY_IMAGE / 2, f"{first},\n{last}", va="center", fontsize=6.5)
        for place, one in enumerate(pixels):
            end = place in (0, len(pixels) - 1)
            add_pixels(axes, left + place * step, top, WAY_IMAGE, _last(one), RIGHT if end else None)
    return figure


def _last(pixels: np.ndarray) -> np.ndarray:
    """(H, W, C) of (C, H, W)."""
    return np.moveaxis(pixels, 0, -1)
