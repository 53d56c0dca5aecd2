"""Figures of a human study, of the classifiers it shows, and of published against reproduced numbers."""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lookalike.human_study.responses import CLASSIFIERS, CONDITIONS
from lookalike.plan import Plan
from lookalike.reporting.human_tables import read_cells
from lookalike.reporting.names import heading
from lookalike.reporting.style import COLUMN, GREY, PAGE, PALETTE, RIGHT, WRONG

SIGNIFICANT = 0.05
COLOURS = dict(zip(CLASSIFIERS, (PALETTE[7], PALETTE[0], PALETTE[2], PALETTE[3]), strict=True))
MARKERS = dict(zip(CLASSIFIERS, "osD^", strict=True))
GAINS = {"gain": "as published", "gain_one_pool": "one pool of images", "gain_reweighted": "and reweighted"}


def figure_human_accuracy(plan: Plan) -> Figure:
    """Accuracy of people by condition: all trials, those where the AI is right, and where it is wrong."""
    cells = read_cells(plan, "accuracy")
    entries = list(dict.fromkeys(cells.entry))
    titles = {"balanced_accuracy": "all, balanced", "ai_right": "AI right", "ai_wrong": "AI wrong"}
    figure, axes = plt.subplots(
        len(entries), 3, figsize=(PAGE, 0.3 + 1.25 * len(entries)), squeeze=False, sharey="row", layout="constrained"
    )
    for row, entry in zip(axes, entries, strict=True):
        for axis, (column, title) in zip(row, titles.items(), strict=True):
            part = cells[(cells.entry == entry) & (cells.column == column)]
            _rows(axis, part, [_colour(name) for name in part.row], filled=[name.endswith("Corr") for name in part.row])
            axis.set_title(f"{entry}: {title}" if axis is row[0] else title, loc="left")
            axis.set_xlabel("right decisions (%)")
    return figure


def figure_human_contrasts(plan: Plan) -> Figure:
    """All pairs of conditions: difference of accuracy; filled where it survives Holm's correction."""
    cells = read_cells(plan, "contrasts")
    figure, panels = _panels(cells, 3.0, sharey=_same_rows(cells))
    for entry, axis in panels.items():
        wide = cells[cells.entry == entry].pivot(index="row", columns="column", values="value")
        part = cells[(cells.entry == entry) & (cells.column == "difference")]
        clean = [wide.clean[name] == 1 for name in part.row]
        colours = [RIGHT if same else "0.35" for same in clean]
        _rows(axis, part, colours, filled=[wide.p_holm[name] <= SIGNIFICANT for name in part.row])
        for place, name in enumerate(part.row):
            if wide.p[name] <= SIGNIFICANT:
                axis.annotate(
                    "*", (part.high.iloc[place], place), xytext=(3, -4), textcoords="offset points", fontsize=8
                )
        axis.axvline(0, color=GREY, lw=0.7)
        axis.set_title(entry, loc="left")
        axis.set_xlabel("difference of accuracy (points)")
    handles = [
        Line2D([], [], marker="o", ls="", color="0.35", label="significant after Holm's correction"),
        Line2D([], [], marker="o", ls="", color="0.35", mfc="white", label="not"),
        Line2D([], [], marker="$*$", ls="", color="0.1", label="p \N{LESS-THAN OR EQUAL TO} 0.05 uncorrected"),
        Line2D([], [], marker="o", ls="-", color=RIGHT, mfc="white", label="same images, explanation alone differs"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False)
    return figure


def figure_human_sensitivity(plan: Plan) -> Figure:
    """Discrimination against reluctance to accept, a cross a condition."""
    cells = read_cells(plan, "sensitivity")
    figure, panels = _panels(cells, 2.6, sharex=True, sharey=True)
    for entry, axis in panels.items():
        part = cells[cells.entry == entry]
        for name in dict.fromkeys(part.row):
            x, y = (part[(part.row == name) & (part.column == column)].iloc[0] for column in ("criterion", "d_prime"))
            colour = _colour(name)
            axis.plot([x.low, x.high], [y.value] * 2, color=colour, lw=0.8)
            axis.plot([x.value] * 2, [y.low, y.high], color=colour, lw=0.8)
            face = colour if name.endswith("Corr") else "white"
            axis.plot(x.value, y.value, _marker(name), color=colour, mfc=face, ms=5, label=name)
        axis.axvline(0, color=GREY, lw=0.7, ls="--")
        axis.set_title(entry, loc="left")
        axis.set_xlabel("criterion (left: accepts readily)")
        sns.despine(ax=axis)
    next(iter(panels.values())).set_ylabel("sensitivity d'")
    handles, labels = next(iter(panels.values())).get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False)
    return figure


def figure_human_team(plan: Plan) -> Figure:
    """What people add to the AI alone, by three estimates."""
    cells = read_cells(plan, "team")
    cells = cells[cells.row.isin(CONDITIONS)]
    figure, panels = _panels(cells, 2.8, sharey=_same_rows(cells))
    for entry, axis in panels.items():
        for number, (column, label) in enumerate(GAINS.items()):
            part = cells[(cells.entry == entry) & (cells.column == column)]
            places = np.arange(len(part)) + 0.22 * (number - 1)
            colour = ("0.55", PALETTE[0], PALETTE[3])[number]
            axis.hlines(places, part.low, part.high, color=colour, lw=1)
            axis.plot(part.value, places, "osD"[number], color=colour, ms=3.5, label=label)
        axis.axvline(0, color=GREY, lw=0.7)
        _name_rows(axis, list(part.row))
        axis.set_title(entry, loc="left")
        axis.set_xlabel("gain of the team over the AI alone (points)")
    handles, labels = next(iter(panels.values())).get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    return figure


def figure_classifiers(plan: Plan) -> Figure:
    """Accuracy of each classifier against its confidence, 95 % Wilson intervals."""
    cells = read_cells(plan, "by_confidence")
    figure, panels = _panels(cells, 2.5, sharex=True, sharey=True)
    for entry, axis in panels.items():
        axis.plot([0, 100], [0, 100], color=GREY, lw=0.7, ls="--")
        part = cells[cells.entry == entry]
        for key, name in CLASSIFIERS.items():
            own = part[part.row == name]
            sure = own[own.column.str.endswith("_confidence")]
            share = own[~own.column.str.endswith("_confidence")]
            axis.vlines(sure.value, share.low, share.high, color=COLOURS[key], lw=0.6)
            axis.plot(
                sure.value, share.value.to_numpy(), MARKERS[key] + "-", ms=2.5, lw=0.7, color=COLOURS[key], label=name
            )
        axis.set_title(entry, loc="left")
        axis.set_xlabel("confidence (%)")
        sns.despine(ax=axis)
    next(iter(panels.values())).set_ylabel("right answers (%)")
    handles, labels = next(iter(panels.values())).get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False)
    return figure


def figure_published(plan: Plan) -> Figure:
    """Published numbers against reproduced ones with their intervals: a panel a table, a row a number."""
    table = pd.read_csv(plan.folder / "tables" / "published.csv", dtype=str, keep_default_na=False)
    for name in ("reproduced", "low", "high"):
        table[name] = pd.to_numeric(table[name], errors="coerce")
    table["value"] = pd.to_numeric(table.published, errors="coerce")
    drawn = (table.mark != "unreadable") & table.unit.isin(["%", "points", "s", "bits/dim"]) & (table.made_by != "")
    table = table[drawn & ~table.made_by.str.endswith(".sd")]
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
    for side, (column, own) in enumerate(zip(columns, heights, strict=True)):
        below = max(heights) - own
        ratios = [_height(part) for _, part in column] + [below] * (below > 0)
        grid = figure.add_gridspec(1, len(columns))[side].subgridspec(len(ratios), 1, height_ratios=ratios)
        for place, (name, part) in enumerate(column):
            _published_panel(figure.add_subplot(grid[place]), name, part)
    handles = [
        Line2D([], [], marker="D", ls="", color="0.1", mfc="none", ms=4, label="published"),
        *(
            Line2D([], [], marker="o", ls="-", color=colour, ms=3, label=f"reproduced: {verdict}")
            for verdict, colour in VERDICT_COLOURS.items()
            if (table.verdict == verdict).any()
        ),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=4, frameon=False)
    return figure


VERDICT_COLOURS = {"match": RIGHT, "within seed spread": PALETTE[2], "differs": WRONG}


def _height(part: pd.DataFrame) -> float:
    return 0.5 + 0.105 * len(part)


def _published_panel(axis: Axes, name: str, part: pd.DataFrame) -> None:
    for place, row in enumerate(_cells(part)):
        colour = VERDICT_COLOURS.get(str(row.verdict), GREY)
        if not math.isnan(row.low):
            axis.plot([row.low, row.high], [place, place], color=colour, lw=1)
        if not math.isnan(row.reproduced):
            axis.plot(row.reproduced, place, "o", color=colour, ms=2.6)
        axis.plot(row.value, place, "D", color="0.1", mfc="none", ms=4, mew=0.6)
    several = part.column.nunique() > 1
    by = part.by.nunique() > 1
    names = [
        f"{row.row}  {row.column}" * several + f"{row.row}" * (not several) + f"  ({row.by})" * by
        for row in _cells(part)
    ]
    _name_rows(axis, names, size=5)
    axis.tick_params(axis="x", labelsize=5.5, pad=1)
    axis.set_title(f"{heading(name)} ({part.unit.iloc[0]})", loc="left", fontsize=6.5, pad=2)


def _rows(axis: Axes, part: pd.DataFrame, colours: list, filled: list[bool]) -> None:
    """A dot and its interval a row."""
    for place, (cell, colour, full) in enumerate(zip(_cells(part), colours, filled, strict=True)):
        axis.plot([cell.low, cell.high], [place, place], color=colour)
        axis.plot(cell.value, place, "o", ms=4.5, color=colour, mfc=colour if full else "white")
    _name_rows(axis, list(part.row))


def _name_rows(axis: Axes, names: list[str], size: float = 6.5) -> None:
    axis.set_yticks(range(len(names)), names, fontsize=size)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.grid(axis="x", color="0.92", lw=0.6)
    sns.despine(ax=axis)


def _colour(condition: str) -> tuple[float, ...]:
    return COLOURS[CONDITIONS[condition]]


def _marker(condition: str) -> str:
    return MARKERS[CONDITIONS[condition]]


def _cells(part: pd.DataFrame) -> list[pd.Series]:
    return [row for _, row in part.iterrows()]


def _same_rows(cells: pd.DataFrame) -> bool:
    """Whether all entries have the same rows, so that one panel's names serve the others."""
    return len({tuple(dict.fromkeys(part.row)) for _, part in cells.groupby("entry")}) == 1


def _panels(
    cells: pd.DataFrame, height: float, sharex: bool = False, sharey: bool = False
) -> tuple[Figure, dict[str, Axes]]:
    """A figure so many inches high, and a panel for each entry of the study, side by side."""
    entries = list(dict.fromkeys(cells.entry))
    figure, axes = plt.subplots(
        1,
        len(entries),
        figsize=(PAGE, height),
        squeeze=False,
        sharex=sharex,
        sharey=sharey,
        layout="constrained",
    )
    return figure, dict(zip(entries, axes[0], strict=True))
