"""Accuracy and calibration error of every model and mode."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lookalike.reporting.catalogue import Figure
from lookalike.study.plan import Plan

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing


def draw_accuracy(plan: Plan) -> Drawing:
    """One row of panels a data set, size and evaluation set; mean, 95 % interval, a tick for each seed."""
    import matplotlib.pyplot as plt
    import pandas as pd

    from lookalike.reporting.panels import panel_title
    from lookalike.reporting.style import PAGE, PALETTE
    from lookalike.reporting.summaries import limits_of, read_metrics

    frame = read_metrics(plan)
    cells = frame[["dataset", "size", "evaluation_set"]].drop_duplicates()
    parts = [frame.merge(pd.DataFrame([cell])) for cell in cells.itertuples(index=False)]
    heights = [0.35 + 0.2 * len(part[["model", "mode"]].drop_duplicates()) for part in parts]
    figure, axes = plt.subplots(
        len(cells),
        2,
        figsize=(PAGE, 0.5 + sum(heights)),
        height_ratios=heights,
        squeeze=False,
        sharey="row",
        layout="constrained",
    )
    colours = dict(zip(plan.models, PALETTE * 3, strict=False))
    for row, cell, part in zip(axes, cells.itertuples(index=False), parts, strict=True):
        for axis, metric, label in zip(row, ("accuracy", "ece"), ("accuracy (%)", "ECE (%)"), strict=True):
            _draw_intervals(axis, part, metric, limits_of(plan, metric), colours)
            axis.set_xlabel(label)
        row[0].set_title(panel_title(*cell), loc="left")
    return figure


def _draw_intervals(
    axis: Axes, frame: pd.DataFrame, metric: str, limits: tuple[float, float], colours: dict[str, Any]
) -> None:
    """A row a model and mode."""
    import numpy as np

    from lookalike.reporting.panels import name_rows
    from lookalike.reporting.summaries import GROUP, over_seeds, within

    summary = over_seeds(frame, [metric], GROUP)
    for place, (_, row) in enumerate(summary.iterrows()):
        colour = colours[row.model]
        seeds = frame[(frame.model == row.model) & (frame["mode"] == row["mode"])][metric] * 100
        axis.plot(seeds, np.full(len(seeds), place), "|", ms=6, mew=0.8, color=colour)
        if not np.isnan(row[f"{metric}_low"]):
            low, high = within(limits, row[f"{metric}_low"], row[f"{metric}_high"])
            axis.plot([low * 100, high * 100], [place, place], color=colour)
        axis.plot(row[metric] * 100, place, "o", ms=4.5, color=colour)
    name_rows(axis, [f"{model}  {mode}" for model, mode in zip(summary.model, summary["mode"], strict=True)])


ACCURACY = Figure(
    name="accuracy",
    label="accuracy and ECE by model and mode",
    caption="Accuracy and calibration error: mean over seeds, 95 % t interval, a tick for each seed.",
    reads=("metrics",),
    draw=draw_accuracy,
    place=10,
)
