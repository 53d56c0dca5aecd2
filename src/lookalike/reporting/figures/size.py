"""Accuracy against the number of training images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lookalike.reporting.catalogue import Figure, first_modes, has_several_sizes
from lookalike.study.plan import Plan

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

MARKERS = "osD^v"


def draw_size(plan: Plan) -> Drawing:
    """A panel a data set, evaluation set and network; each model in its first mode: mean and 95 % interval."""
    import matplotlib.pyplot as plt
    import pandas as pd

    from lookalike.reporting.panels import in_first_mode, panel_title
    from lookalike.reporting.style import PAGE
    from lookalike.reporting.summaries import GROUP, of_several_sizes, over_seeds, read_metrics

    frame = in_first_mode(of_several_sizes(read_metrics(plan)), plan)
    frame = frame.assign(network=frame.model.map({name: plan.backbone_of(name).name for name in plan.models}))
    cells = frame[["dataset", "evaluation_set", "network"]].drop_duplicates()
    columns = min(3, len(cells))
    lines = -(-len(cells) // columns)
    figure, axes = plt.subplots(
        lines, columns, figsize=(min(PAGE, 2.6 * columns + 0.9), 2.1 * lines), squeeze=False, layout="constrained"
    )
    for axis, cell in zip(axes.flat, cells.itertuples(index=False), strict=False):
        _draw_panel(axis, over_seeds(frame.merge(pd.DataFrame([cell])), ["accuracy"], GROUP), plan)
        title = panel_title(str(cell.dataset), evaluation_set=str(cell.evaluation_set))
        several = cells.network.nunique() > 1
        axis.set_title(title + (f", {cell.network}" if several else ""), loc="left")
        axis.legend(frameon=False)
    for axis in list(axes.flat)[len(cells) :]:
        axis.set_axis_off()
    return figure


def _draw_panel(axis: Axes, summary: pd.DataFrame, plan: Plan) -> None:
    import numpy as np
    import seaborn as sns

    from lookalike.reporting.style import PALETTE
    from lookalike.reporting.summaries import limits_of, within

    limits = limits_of(plan, "accuracy")
    places = {size: place for place, size in enumerate(s for s in plan.sizes if s in set(summary["size"]))}
    models = [model for model in plan.models if model in set(summary.model)]
    for number, model in enumerate(models):
        rows = summary[summary.model == model]
        shift = 0.16 * (number / max(len(models) - 1, 1) - 0.5)  # intervals beside each other
        where = [places[size] + shift for size in rows["size"]]
        colour = PALETTE[list(plan.models).index(model) % len(PALETTE)]
        axis.plot(where, rows.accuracy * 100, MARKERS[number % len(MARKERS)] + "-", ms=4, color=colour, label=model)
        for place, (_, row) in zip(where, rows.iterrows(), strict=True):
            if not np.isnan(row.accuracy_low):
                low, high = within(limits, row.accuracy_low, row.accuracy_high)
                axis.plot([place, place], [low * 100, high * 100], lw=0.8, color=colour)
    axis.set_xticks(list(places.values()), list(places))
    axis.set_xlabel("training images")
    axis.set_ylabel("accuracy (%)")
    axis.grid(axis="y", color="0.92", lw=0.6)
    sns.despine(ax=axis)


SIZE = Figure(
    name="size",
    label="accuracy by number of training images",
    caption="Accuracy by number of training images, each model in its first mode: mean and 95 % t interval over seeds.",
    reads=("metrics",),
    draw=draw_size,
    exists=has_several_sizes,
    place=40,
    settings=first_modes,
)
