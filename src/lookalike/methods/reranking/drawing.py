"""Drawings of explanations by patches: which patch of the query belongs to which of an exemplar.

After the figures of Nguyen, Taesiri and Nguyen (NeurIPS 2022), in colours that colour-blind readers tell apart and with
numbers. Images are shown as models see them, since the patches are parts of that square.
"""

from __future__ import annotations

import matplotlib.patheffects as effects
import numpy as np
from matplotlib.patches import Rectangle

from lookalike.contracts.drawing import EDGE, GREY, HEAD, PAGE, PALETTE, RIGHT, WRONG, Canvas, format_share
from lookalike.contracts.explanation import SHOWN_EXEMPLARS, Exemplar, Explanation, PatchPair
from lookalike.data.crops import square
from lookalike.data.prepared import PreparedData

SIDE, STEP, CAPTION = 1.02, 1.11, 0.29  # inches
COLOURS = (PALETTE[8], PALETTE[9], PALETTE[2], PALETTE[1], PALETTE[6])  # weakest pair first
MAP, MAPS = 1.18, ("query", "matters to exemplar", "exemplar", "matters to query", "query in its patches")
OUTLINE = [effects.Stroke(linewidth=1.7, foreground="black"), effects.Normal()]


def draw_correspondences(records: list[Explanation], data: PreparedData) -> Canvas:
    """One block a query: its nearest neighbours, and the exemplars after re-ranking below copies of the query.

    Squares of one colour and number mark patches that belong together, 5 the pair that counts most. Blue frames mark
    the query's true class, orange ones another.
    """
    block = 3 * SIDE + 2 * CAPTION + 0.2
    canvas = Canvas([block] * len(records), data.class_names)
    left = PAGE - EDGE - (SHOWN_EXEMPLARS - 1) * STEP - SIDE
    canvas.add_headings(
        {EDGE: "query", left: "nearest neighbours; below: exemplars after re-ranking, with the query's patches"}
    )
    for number, record in enumerate(records):
        top = HEAD + number * block
        query = _seen(data, record.query)
        canvas.add_pixels(EDGE, top, SIDE, query)
        _add_verdicts(canvas, EDGE, top, record)
        for place, exemplar in enumerate(record.nearest[:SHOWN_EXEMPLARS]):
            _add_framed(canvas, left + place * STEP, top, exemplar, record, data)
        second, third = top + SIDE + CAPTION, top + 2 * SIDE + CAPTION + 0.06
        for place, exemplar in enumerate(record.shown):
            x = left + place * STEP
            canvas.add_pixels(x, second, SIDE, query)
            _add_framed(canvas, x, third, exemplar, record, data)
            for pair in exemplar.strongest_pairs():
                if pair.weight > 0 and record.grid is not None:
                    _add_square(canvas, x, second, pair.query, pair, record.grid)
                    _add_square(canvas, x, third, pair.exemplar, pair, record.grid)
    return canvas


def draw_flow(records: list[Explanation], data: PreparedData) -> Canvas:
    """One row a query and its best exemplar: where each matters to the other, and the query put together from patches.

    In the last picture each patch of the query is replaced by the exemplar's patch that belongs to it, the darker the
    less it counts.
    """
    row = MAP + CAPTION + 0.12
    canvas = Canvas([row] * len(records), data.class_names)
    places = [EDGE + number * (MAP + 0.21) for number in range(len(MAPS))]
    canvas.add_headings(dict(zip(places, MAPS, strict=True)))
    for number, record in enumerate(records):
        top = HEAD + number * row
        query = _seen(data, record.query)
        canvas.add_pixels(places[0], top, MAP, query)
        colour = RIGHT if record.predicted == record.label else WRONG
        lines = f"true {canvas.name(record.label)}\npredicted {canvas.name(record.predicted)}"
        canvas.add_caption(places[0], top, MAP, lines, colour)
        if not record.shown or record.grid is None:
            continue
        best = record.shown[0]
        exemplar = _seen(data, best.id)
        canvas.add_pixels(places[2], top, MAP, exemplar, RIGHT if best.label == record.label else WRONG)
        if best.similarity is not None:
            lines = f"{canvas.name(best.label)}\n{format_share(best.similarity)}"
            canvas.add_caption(places[2], top, MAP, lines, "black")
        for place, values in zip((places[1], places[3]), best.correlation or (), strict=True):
            _add_map(canvas, place, top, np.array(values).reshape(record.grid))
        canvas.add_pixels(places[4], top, MAP, _put_together(exemplar, best, record.grid, query.shape))
    return canvas


def _seen(data: PreparedData, image: int) -> np.ndarray:
    """An image (H, W, C) uint8 as models see it."""
    return square(data, image) if data.encoded else data.picture(image)


def _add_verdicts(canvas: Canvas, left: float, top: float, record: Explanation) -> None:
    """What the query is, and what both votes say."""
    lines = [(f"true {canvas.name(record.label)}", "black")]
    if record.nearest:
        before = record.nearest[0].label
        lines.append((f"kNN: {canvas.name(before)}", RIGHT if before == record.label else WRONG))
    verdict = f"re-ranked: {canvas.name(record.predicted)}\n{record.confidence:.0%} of votes"
    lines.append((verdict, RIGHT if record.predicted == record.label else WRONG))
    for number, (text, colour) in enumerate(lines):
        y = top + SIDE + 0.05 + number * 0.14
        canvas.axes.text(left, y, text, va="top", fontsize=6.5, color=colour, linespacing=1.3)


def _add_framed(
    canvas: Canvas, left: float, top: float, exemplar: Exemplar, record: Explanation, data: PreparedData
) -> None:
    """An exemplar with its class, and its similarity where there is one."""
    frame = RIGHT if exemplar.label == record.label else WRONG
    canvas.add_pixels(left, top, SIDE, _seen(data, exemplar.id), frame)
    number = "" if exemplar.similarity is None else f"\n{format_share(exemplar.similarity)}"
    canvas.add_caption(left, top, SIDE, canvas.name(exemplar.label) + number, "black")


def _add_square(canvas: Canvas, left: float, top: float, patch: int, pair: PatchPair, grid: list[int]) -> None:
    """A patch's outline and the number of its pair."""
    height, width = SIDE / grid[0], SIDE / grid[1]
    row, column = divmod(patch, grid[1])
    x, y = left + column * width, top + row * height
    inset = 0.12 * min(height, width)
    canvas.axes.add_patch(
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
    canvas.axes.text(
        x + width / 2,
        y + height / 2,
        str(pair.colour + 1),
        ha="center",
        va="center",
        fontsize=min(6.0, 50 * min(height, width)),
        color=COLOURS[pair.colour],
        path_effects=[effects.Stroke(linewidth=0.9, foreground="black"), effects.Normal()],
    )


def _add_map(canvas: Canvas, left: float, top: float, values: np.ndarray) -> None:
    """A map of patches from its least (dark) to its most (light)."""
    low, high = float(values.min()), float(values.max())
    canvas.axes.imshow(values, cmap="viridis", extent=(left, left + MAP, top + MAP, top), interpolation="nearest")
    canvas.axes.add_patch(Rectangle((left, top), MAP, MAP, fill=False, edgecolor=GREY, lw=0.5))
    canvas.reset_limits()
    canvas.add_caption(left, top, MAP, f"dark {format_share(low)}\nlight {format_share(high)}", "black")


def _put_together(pixels: np.ndarray, exemplar: Exemplar, grid: list[int], shape: tuple[int, ...]) -> np.ndarray:
    """The query's square (H, W, C) filled with the exemplar's patches."""
    rows, columns = (np.linspace(0, shape[axis], grid[axis] + 1).round().astype(int) for axis in (0, 1))
    filled = np.zeros_like(pixels)
    targets, weights = exemplar.target or [], np.array(exemplar.target_weight or [])
    most = float(weights.max(initial=0)) or 1.0
    for patch, end in enumerate(targets):
        (r, c), (er, ec) = divmod(patch, grid[1]), divmod(end, grid[1])
        height, width = rows[r + 1] - rows[r], columns[c + 1] - columns[c]
        tile = pixels[rows[er] : rows[er] + height, columns[ec] : columns[ec] + width]
        place = filled[rows[r] : rows[r + 1], columns[c] : columns[c + 1]]
        place[: tile.shape[0], : tile.shape[1]] = tile * max(0.0, weights[patch] / most)
    return filled
