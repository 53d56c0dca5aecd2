"""What several figures share: titles of panels, the modes they show, rows with names, panels side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lookalike.reporting.catalogue import first_modes
from lookalike.reporting.style import PAGE
from lookalike.study.plan import Plan


def panel_title(dataset: str, size: str = "all", evaluation_set: str = "test") -> str:
    """`digits, 100 images, on validation`: what a panel shows, without what is usual."""
    images = f", {size} images" if size != "all" else ""
    return dataset + images + (f", on {evaluation_set}" if evaluation_set != "test" else "")


def in_first_mode(frame: pd.DataFrame, plan: Plan) -> pd.DataFrame:
    """Rows of each model's first mode."""
    return frame[frame["mode"] == frame.model.map(first_modes(plan))]


def rows_of(frame: pd.DataFrame) -> list[Any]:
    """The rows of a frame, one by one."""
    return [row for _, row in frame.iterrows()]


def name_rows(axis: Axes, names: Sequence[str], size: float = 6.5) -> None:
    """Write the names of rows beside a panel, the first one on top."""
    axis.set_yticks(range(len(names)), names, fontsize=size)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.grid(axis="x", color="0.92", lw=0.6)
    sns.despine(ax=axis)


def draw_rows(axis: Axes, cells: pd.DataFrame, colours: Sequence[Any], filled: Sequence[bool]) -> None:
    """A dot and its interval a row.

    Args:
        axis: The panel.
        cells: Columns row, value, low and high.
        colours: Colour of each row.
        filled: Whether the dot of each row is filled.
    """
    for place, (cell, colour, full) in enumerate(zip(rows_of(cells), colours, filled, strict=True)):
        axis.plot([cell.low, cell.high], [place, place], color=colour)
        axis.plot(cell.value, place, "o", ms=4.5, color=colour, mfc=colour if full else "white")
    name_rows(axis, list(cells.row))


def panels_by_entry(
    cells: pd.DataFrame, height: float, sharex: bool = False, sharey: bool = False
) -> tuple[Figure, dict[str, Axes]]:
    """A figure with a panel for each human study, side by side.

    Args:
        cells: Numbers with a column entry.
        height: Height in inches.
        sharex: Whether the panels have one horizontal axis.
        sharey: Whether the panels have one vertical axis.
    """
    entries = list(dict.fromkeys(cells.entry))
    figure, axes = plt.subplots(
        1, len(entries), figsize=(PAGE, height), squeeze=False, sharex=sharex, sharey=sharey, layout="constrained"
    )
    return figure, dict(zip(entries, axes[0], strict=True))


def have_same_rows(cells: pd.DataFrame) -> bool:
    """Whether all human studies have the same rows, so that one panel's names serve the others."""
    return len({tuple(dict.fromkeys(part.row)) for _, part in cells.groupby("entry")}) == 1
