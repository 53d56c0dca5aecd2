"""Drawings of explanations by patches: which patch of the query belongs to which of an exemplar.

After the figures of Nguyen, Taesiri and Nguyen (NeurIPS 2022), in colours that colour-blind readers tell apart and with
numbers. Images are shown as models see them, since the patches are parts of that square.
"""

from __future__ import annotations

import matplotlib.patheffects as effects
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lookalike.data.crops import square
from lookalike.data.prepared import PreparedData
from lookalike.explanation.canvas import (
    EDGE,
    HEAD,
    add_headings,
    add_pixels,
    make_canvas,
    set_limits,
    share,
    short,
)
from lookalike.explanation.record import SHOWN_EXEMPLARS, Exemplar, Explanation, PatchPair
from lookalike.reporting.style import GREY, PAGE, PALETTE, RIGHT, WRONG

SIDE, STEP, CAPTION = 1.02, 1.11, 0.29  # inches
COLOURS = (PALETTE[8], PALETTE[9], PALETTE[2], PALETTE[1], PALETTE[6])  # weakest pair first
MAP, MAPS = 1.18, ("query", "matters to exemplar", "exemplar", "matters to query", "query in its patches")
OUTLINE = [effects.Stroke(linewidth=1.7, foreground="black"), effects.Normal()]


def draw_correspondences(records: list[Explanation], data: PreparedData) -> Figure:
    """One block a query: its nearest neighbours, and the exemplars after re-ranking below copies of the query.

    Squares of one colour and number mark patches that belong together, 5 the pair that counts most. Blue frames mark
    the query's true class, orange ones another.
    """
    block = 3 * SIDE + 2 * CAPTION + 0.2
    figure, axes = make_canvas([block] * len(records))
    left = PAGE - EDGE - (SHOWN_EXEMPLARS - 1) * STEP - SIDE
    add_headings(
        axes, {EDGE: "query", left: "nearest neighbours; below: exemplars after re-ranking, with the query's patches"}
    )
    for number, record in enumerate(records):
        top = HEAD + number * block
        own = _seen(data, record.query)
        add_pixels(axes, EDGE, top, SIDE, own, None)
        _verdicts(axes, EDGE, top, record, data)
        for place, exemplar in enumerate(record.nearest[:SHOWN_EXEMPLARS]):
            _framed(axes, left + place * STEP, top, exemplar, record, data)
        second, third = top + SIDE + CAPTION, top + 2 * SIDE + CAPTION + 0.06
        for place, exemplar in enumerate(record.shown):
            x = left + place * STEP
            add_pixels(axes, x, second, SIDE, own, None)
            _framed(axes, x, third, exemplar, record, data)
            for pair in exemplar.strongest_pairs():
                if pair.strength > 0 and record.grid is not None:
                    _square(axes, x, second, pair.query, pair, record.grid)
                    _square(axes, x, third, pair.exemplar, pair, record.grid)
    return figure


def draw_flow(records: list[Explanation], data: PreparedData) -> Figure:
    """One row a query and its best exemplar: where each matters to the other, and the query put together from patches.

    In the last picture each patch of the query is replaced by the exemplar's patch that belongs to it, the darker the
    less it counts.
    """
    row = MAP + CAPTION + 0.12
    figure, axes = make_canvas([row] * len(records))
    places = [EDGE + number * (MAP + 0.21) for number in range(len(MAPS))]
    add_headings(axes, dict(zip(places, MAPS, strict=True)))
    for number, record in enumerate(records):
        top = HEAD + number * row
        own = _seen(data, record.query)
        add_pixels(axes, places[0], top, MAP, own, None)
        colour = RIGHT if record.predicted == record.label else WRONG
        lines = f"true {short(data.class_names[record.label])}\npredicted {short(data.class_names[record.predicted])}"
        _below(axes, places[0], top, MAP, lines, colour)
        if not record.shown or record.grid is None:
            continue
        best = record.shown[0]
        other = _seen(data, best.id)
        add_pixels(axes, places[2], top, MAP, other, RIGHT if best.label == record.label else WRONG)
        if best.similarity is not None:
            _below(
                axes, places[2], top, MAP, f"{short(data.class_names[best.label])}\n{share(best.similarity)}", "black"
            )
        for place, values in zip((places[1], places[3]), best.correlation or (), strict=True):
            _map(axes, place, top, np.array(values).reshape(record.grid))
        add_pixels(axes, places[4], top, MAP, _put_together(other, best, record.grid, own.shape), None)
    return figure


def _seen(data: PreparedData, image: int) -> np.ndarray:
    """(H, W, C) uint8: an image as models see it."""
    return square(data, image) if data.encoded else data.picture(image)


def _verdicts(axes: Axes, left: float, top: float, record: Explanation, data: PreparedData) -> None:
    """What the query is, and what both votes say."""
    names = data.class_names
    lines = [(f"true {short(names[record.label])}", "black")]
    if record.nearest:
        before = record.nearest[0].label
        lines.append((f"kNN: {short(names[before])}", RIGHT if before == record.label else WRONG))
    verdict = f"re-ranked: {short(names[record.predicted])}\n{record.confidence:.0%} of votes"
    lines.append((verdict, RIGHT if record.predicted == record.label else WRONG))
    for number, (text, colour) in enumerate(lines):
        axes.text(left, top + SIDE + 0.05 + number * 0.14, text, va="top", fontsize=6.5, color=colour, linespacing=1.3)


def _framed(axes: Axes, left: float, top: float, exemplar: Exemplar, record: Explanation, data: PreparedData) -> None:
    """An exemplar with its class, and its similarity where there is one."""
    frame = RIGHT if exemplar.label == record.label else WRONG
    add_pixels(axes, left, top, SIDE, _seen(data, exemplar.id), frame)
    number = "" if exemplar.similarity is None else f"\n{share(exemplar.similarity)}"
    _below(axes, left, top, SIDE, short(data.class_names[exemplar.label]) + number, "black")


def _below(axes: Axes, left: float, top: float, side: float, text: str, colour: object) -> None:
    axes.text(
        left + side / 2, top + side + 0.03, text, ha="center", va="top", fontsize=6, linespacing=1.0, color=colour
    )


def _square(axes: Axes, left: float, top: float, patch: int, pair: PatchPair, grid: list[int]) -> None:
    """A patch's outline and the number of its pair."""
    height, width = SIDE / grid[0], SIDE / grid[1]
    row, column = divmod(patch, grid[1])
    x, y = left + column * width, top + row * height
    inset = 0.12 * min(height, width)
    axes.add_patch(
        Rectangle(
            (x + inset / 2, y + inset / 2),
            width - inset,
            height - inset,
            fill=False,
            edgecolor=COLOURS[pair.colour],
            lw=1.0,
            path_effects=OUTLINE,
        )
    )
    axes.text(
        x + width / 2,
        y + height / 2,
        str(pair.colour + 1),
        ha="center",
        va="center",
        fontsize=min(6.0, 50 * min(height, width)),
        color=COLOURS[pair.colour],
        path_effects=[effects.Stroke(linewidth=0.9, foreground="black"), effects.Normal()],
    )


def _map(axes: Axes, left: float, top: float, values: np.ndarray) -> None:
    """A map of patches from its least (dark) to its most (light)."""
    low, high = float(values.min()), float(values.max())
    axes.imshow(values, cmap="viridis", extent=(left, left + MAP, top + MAP, top), interpolation="nearest")
    axes.add_patch(Rectangle((left, top), MAP, MAP, fill=False, edgecolor=GREY, lw=0.5))
    set_limits(axes)
    _below(axes, left, top, MAP, f"dark {share(low)}\nlight {share(high)}", "black")


def _put_together(other: np.ndarray, exemplar: Exemplar, grid: list[int], shape: tuple[int, ...]) -> np.ndarray:
    """(H, W, C) the query's square filled with the exemplar's patches."""
    rows, columns = (np.linspace(0, shape[axis], grid[axis] + 1).round().astype(int) for axis in (0, 1))
    found = np.zeros_like(other)
    partner, strength = exemplar.partner or [], np.array(exemplar.strength or [])
    most = float(strength.max(initial=0)) or 1.0
    for patch, end in enumerate(partner):
        (r, c), (er, ec) = divmod(patch, grid[1]), divmod(end, grid[1])
        height, width = rows[r + 1] - rows[r], columns[c + 1] - columns[c]
        tile = other[rows[er] : rows[er] + height, columns[ec] : columns[ec] + width]
        place = found[rows[r] : rows[r + 1], columns[c] : columns[c + 1]]
        place[: tile.shape[0], : tile.shape[1]] = tile * max(0.0, strength[patch] / most)
    return found
