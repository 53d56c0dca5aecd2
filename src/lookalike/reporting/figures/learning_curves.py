"""Training loss and accuracy by epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lookalike.reporting.catalogue import HISTORIES, Figure
from lookalike.study.plan import Plan

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing


def draw_learning_curves(plan: Plan) -> Drawing:
    """A row of panels a data set and size: mean over seeds, band from the lowest to the highest seed."""
    import matplotlib.pyplot as plt
    import pandas as pd
    import seaborn as sns
    from matplotlib.ticker import MaxNLocator

    from lookalike.core.tables import read_csv
    from lookalike.reporting.panels import panel_title
    from lookalike.reporting.style import PAGE

    parts = [
        read_csv(run.history).assign(dataset=run.dataset, size=run.size, model=run.model, seed=run.seed)
        for run in plan.trained_runs()
    ]
    frame = pd.concat(parts)
    frame["accuracy"] *= 100
    cells = frame[["dataset", "size"]].drop_duplicates()
    figure, axes = plt.subplots(
        len(cells), 2, figsize=(PAGE, 0.3 + 1.9 * len(cells)), squeeze=False, sharex="row", layout="constrained"
    )
    order = [model for model in plan.models if model in set(frame.model)]
    for row, cell in zip(axes, cells.itertuples(index=False), strict=True):
        part = frame.merge(pd.DataFrame([cell])).reset_index(drop=True)
        for axis, metric, label in zip(
            row, ("loss", "accuracy"), ("training loss", "training accuracy (%)"), strict=True
        ):
            sns.lineplot(
                part,
                x="epoch",
                y=metric,
                hue="model",
                style="model",
                hue_order=order,
                style_order=order,
                errorbar=("pi", 100),
                ax=axis,
                err_kws={"lw": 0},
                legend=metric == "loss",
            )
            axis.set_ylabel(label)
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
            sns.despine(ax=axis)
        row[0].set_yscale("log")
        handles, labels = row[0].get_legend_handles_labels()
        drawn = [line for line in zip(handles, labels, strict=True) if line[1] in set(part.model)]
        row[0].legend(*zip(*drawn, strict=True), title=None, frameon=False)
        row[0].set_title(panel_title(*cell), loc="left")
    return figure


LEARNING_CURVES = Figure(
    name="learning_curves",
    label="learning curves",
    caption="Training loss and accuracy: mean over seeds, band from the lowest to the highest seed.",
    reads=(HISTORIES,),
    draw=draw_learning_curves,
    exists=lambda plan: any(True for _ in plan.trained_runs()),
    place=30,
)
