"""Drawings of prototypes: which ones a query looks like, and what they stand for."""

from __future__ import annotations

import numpy as np

from lookalike.contracts.drawing import EDGE, HEAD, PAGE, QUERY, RIGHT, WRONG, Canvas, format_share
from lookalike.contracts.explanation import Explanation
from lookalike.data.prepared import PreparedData

SHOWN_MATCHES, SHOWN_NEAREST = 3, 3
ROW, IMAGE, SMALL, GAP = 0.95, 0.52, 0.36, 0.05  # inches
SHEET_IMAGE, SHEET_ROW, SHEET_NEAREST = 0.5, 0.7, 3
SHEET_CLASSES, SHEET_COMPONENTS = 10, 3
WAY_IMAGE, WAY_ROW = 0.62, 0.84


def draw_looks_like(records: list[Explanation], data: PreparedData) -> Canvas:
    """One row a query: the query and the prototypes it looks like, each with its nearest training images.

    The number below a prototype is its share of the query among the prototypes of its class. Blue marks the query's
    true class, orange another.
    """
    canvas = Canvas([ROW] * len(records), data.class_names)
    begin = EDGE + QUERY + 0.75
    step = (PAGE - EDGE - begin) / SHOWN_MATCHES
    canvas.add_headings({EDGE: "query", begin: "looks like these prototypes, and their nearest training images"})
    for number, record in enumerate(records):
        top = HEAD + number * ROW
        canvas.add_query(EDGE, top, record, data.picture(record.query))
        for place, match in enumerate(record.prototypes[:SHOWN_MATCHES]):
            left = begin + place * step
            frame = RIGHT if match.label == record.label else WRONG
            canvas.add_pixels(left, top, IMAGE, np.array(match.picture, np.uint8), frame)
            name, within = canvas.name(match.label), f"in its class {match.responsibility:.2f}"
            text = f"{name}: {format_share(match.weight)}\n{within}"
            canvas.axes.text(left, top + IMAGE + 0.03, text, va="top", fontsize=6, linespacing=1.1)
            for beside, image in enumerate(match.nearest[:SHOWN_NEAREST]):
                at = left + IMAGE + 0.08 + beside * (SMALL + GAP)
                canvas.add_pixels(at, top + (IMAGE - SMALL) / 2, SMALL, data.picture(image))
    return canvas


def draw_prototypes(sheet: dict[str, np.ndarray], data: PreparedData) -> Canvas:
    """One row a prototype: its picture, samples at rising temperatures, its nearest training images.

    The most used prototypes of the first ten classes.
    """
    rows = [
        (label, component)
        for label in range(min(SHEET_CLASSES, len(sheet["usage"])))
        for component in np.argsort(-sheet["usage"][label], kind="stable")[:SHEET_COMPONENTS]
    ]
    columns = [rows[0::2], rows[1::2]]
    canvas = Canvas([SHEET_ROW] * len(columns[0]), data.class_names)
    width = (PAGE - EDGE) / 2
    samples, step = sheet["samples"].shape[2], SHEET_IMAGE + GAP
    for side, part in enumerate(columns):
        left = EDGE + side * width
        samples_at, nearest_at = left + step + 0.06, left + step + 0.12 + samples * (SMALL + GAP)
        canvas.add_headings({left: "mean", samples_at: "samples", nearest_at: "nearest training"})
        for number, (label, component) in enumerate(part):
            top = HEAD + number * SHEET_ROW
            middle = top + (SHEET_IMAGE - SMALL) / 2
            canvas.add_pixels(left, top, SHEET_IMAGE, _last(sheet["picture"][label, component]), RIGHT)
            name = f"{canvas.name(label)}: {sheet['usage'][label, component]:.2f} of its class"
            canvas.axes.text(left, top + SHEET_IMAGE + 0.02, name, va="top", fontsize=6)
            for place, pixels in enumerate(sheet["samples"][label, component]):
                canvas.add_pixels(samples_at + place * (SMALL + GAP), middle, SMALL, _last(pixels))
            for place, image in enumerate(sheet["nearest"][label, component][:SHEET_NEAREST]):
                at = nearest_at + place * (SMALL + GAP)
                canvas.add_pixels(at, middle, SMALL, data.picture(int(image)))
    return canvas


def draw_between(sheet: dict[str, np.ndarray], data: PreparedData) -> Canvas:
    """One row a pair of classes: pictures on the straight way between the latents of two prototypes."""
    ways = sheet["between"]
    canvas = Canvas([WAY_ROW] * len(ways), data.class_names)
    left = EDGE + 0.75
    step = (PAGE - EDGE - left) / ways.shape[1]
    canvas.add_headings({EDGE: "from, to", left: "pictures on the straight way between two prototypes' latents"})
    for number, (pair, pixels) in enumerate(zip(sheet["ends"], ways, strict=True)):
        top = HEAD + number * WAY_ROW
        first, last = (canvas.name(label) for label in pair)
        canvas.axes.text(EDGE, top + WAY_IMAGE / 2, f"{first},\n{last}", va="center", fontsize=6.5)
        for place, picture in enumerate(pixels):
            end = place in (0, len(pixels) - 1)
            canvas.add_pixels(left + place * step, top, WAY_IMAGE, _last(picture), RIGHT if end else None)
    return canvas


def _last(pixels: np.ndarray) -> np.ndarray:
    """Pixels (C, H, W) as (H, W, C)."""
    return np.moveaxis(pixels, 0, -1)
