"""Published numbers against reproduced ones."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from lookalike.reporting.catalogue import PUBLISHED, Figure, title_of
from lookalike.study.plan import Plan
from lookalike.study.published import published_rows

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

UNITS = ("%", "points", "s", "bits/dim")  # of the numbers that are drawn


def draw_published(plan: Plan) -> Drawing:
    """A panel a published table, a row a number, with the 95 % interval of its reproduction."""
    import matplotlib.pyplot as plt
    from matplotlib.lines import Line2D

    from lookalike.reporting.style import COLUMN, PAGE

    table = _drawn_rows(plan)
    panels = [(str(name), part) for (name, unit), part in table.groupby(["table", "unit"], sort=False)]
    if not panels:
        figure, axis = plt.subplots(figsize=(COLUMN, 0.6))
        axis.text(0.5, 0.5, "this study makes none of the published numbers", ha="center", va="center")
        axis.set_axis_off()
        return figure
    columns: list[list[tuple[str, pd.DataFrame]]] = [[], []]
    for panel in panels:  # into the shorter column
        min(columns, key=lambda column: sum(_height(part) for _, part in column)).append(panel)
    columns = [column for column in columns if column]
    heights = [sum(_height(part) for _, part in column) for column in columns]
    figure = plt.figure(figsize=(PAGE if len(columns) > 1 else COLUMN, max(heights) + 0.3), layout="constrained")
    for side, (column, height) in enumerate(zip(columns, heights, strict=True)):
        below = max(heights) - height
        ratios = [_height(part) for _, part in column] + [below] * (below > 0)
        grid = figure.add_gridspec(1, len(columns))[side].subgridspec(len(ratios), 1, height_ratios=ratios)
        for place, (name, part) in enumerate(column):
            _draw_panel(figure.add_subplot(grid[place]), name, part)
    handles = [
        Line2D([], [], marker="D", ls="", color="0.1", mfc="none", ms=4, label="published"),
        *(
            Line2D([], [], marker="o", ls="-", color=colour, ms=3, label=f"reproduced: {verdict}")
            for verdict, colour in _verdict_colours().items()
            if (table.verdict == verdict).any()
        ),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=4, frameon=False)
    return figure


def _drawn_rows(plan: Plan) -> pd.DataFrame:
    """Rows of the comparison that a figure can show."""
    import pandas as pd

    from lookalike.core.tables import read_csv

    table = read_csv(plan.folder / "tables" / "published.csv", dtype=str, keep_default_na=False)
    for name in ("reproduced", "low", "high"):
        table[name] = pd.to_numeric(table[name], errors="coerce")
    table["value"] = pd.to_numeric(table.published, errors="coerce")
    drawn = (table.mark != "unreadable") & table.unit.isin(UNITS) & (table.reproduced_by != "")
    return table[drawn & ~table.reproduced_by.str.endswith(".sd")]


def _verdict_colours() -> dict[str, Any]:
    from lookalike.reporting.style import PALETTE, RIGHT, WRONG

    return {"match": RIGHT, "within seed spread": PALETTE[2], "differs": WRONG}


def _height(part: pd.DataFrame) -> float:
    """Height of a panel, in inches."""
    return 0.5 + 0.105 * len(part)


def _draw_panel(axis: Axes, name: str, part: pd.DataFrame) -> None:
    from lookalike.reporting.panels import name_rows, rows_of
    from lookalike.reporting.style import GREY

    rows, colours = rows_of(part), _verdict_colours()
    for place, row in enumerate(rows):
        colour = colours.get(str(row.verdict), GREY)
        if not math.isnan(row.low):
            axis.plot([row.low, row.high], [place, place], color=colour, lw=1)
        if not math.isnan(row.reproduced):
            axis.plot(row.reproduced, place, "o", color=colour, ms=2.6)
        axis.plot(row.value, place, "D", color="0.1", mfc="none", ms=4, mew=0.6)
    several, by = part.column.nunique() > 1, part.by.nunique() > 1
    name_rows(
        axis,
        [f"{row.row}{f'  {row.column}' * several}{f'  ({row.by})' * by}" for row in rows],
        size=5,
    )
    axis.tick_params(axis="x", labelsize=5.5, pad=1)
    axis.set_title(f"{title_of(name)} ({part.unit.iloc[0]})", loc="left", fontsize=6.5, pad=2)


def _has_numbers(plan: Plan) -> bool:
    """Whether a study makes any of the published numbers that it names."""
    return any(address.is_in(plan) for row in published_rows(plan) for address in row.addresses)


PUBLISHED_FIGURE = Figure(
    name="published",
    label="published against reproduced",
    caption="Published numbers (diamonds) and reproduced ones with 95 % intervals: over sessions, drawn persons and "
    "images, images, seeds, or the authors' subsamples. The table of each panel is above.",
    reads=(PUBLISHED,),
    draw=draw_published,
    exists=_has_numbers,
    place=70,
)
