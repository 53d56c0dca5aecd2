"""Reliability diagrams: accuracy against confidence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lookalike.reporting.catalogue import Figure, first_modes
from lookalike.study.plan import Plan

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

PANELS_PER_ROW = 5
MOST_PANELS = 100


def draw_reliability(plan: Plan) -> Drawing:
    """A panel a model and mode: accuracy against confidence in 15 bins, seeds pooled, 95 % Wilson intervals."""
    import matplotlib.pyplot as plt
    import pandas as pd

    from lookalike.reporting.panels import in_first_mode
    from lookalike.reporting.style import PAGE
    from lookalike.reporting.summaries import GROUP, read_collected

    frame = read_collected(plan, "reliability")
    keys, label = frame[GROUP].drop_duplicates(), "confidence"
    if len(keys) > MOST_PANELS:
        frame = in_first_mode(frame[frame["size"] == plan.sizes[-1]], plan)
        keys = frame[GROUP].drop_duplicates()
        label += f" (with {plan.sizes[-1]} images, each model in its first mode; reliability.csv has all)"
    columns = min(PANELS_PER_ROW, len(keys))
    lines = -(-len(keys) // columns)
    figure, axes = plt.subplots(
        lines,
        columns,
        figsize=(PAGE, 1.65 * lines + 0.2),
        squeeze=False,
        sharex=True,
        sharey=True,
        layout="constrained",
    )
    for axis, key in zip(axes.flat, keys.itertuples(index=False), strict=False):
        part = frame.merge(pd.DataFrame([key]))
        _draw_panel(axis, part)
        where = [str(getattr(key, name)) for name in ("dataset", "size", "evaluation_set") if keys[name].nunique() > 1]
        axis.set_title("\n".join([*[", ".join(where)] * bool(where), f"{key.model}  {key.mode}"]), fontsize=6.5)
    for axis in list(axes.flat)[len(keys) :]:
        axis.set_axis_off()
    figure.supxlabel(label, fontsize=7)
    figure.supylabel("accuracy (bars: share of queries)", fontsize=7)
    return figure


def _draw_panel(axis: Axes, part: pd.DataFrame) -> None:
    import numpy as np
    import seaborn as sns
    from scipy import stats

    from lookalike.reporting.style import GREY, PALETTE

    bins = part.assign(hits=part.accuracy * part.n, mass=part.confidence * part.n).groupby("bin").sum(numeric_only=True)
    edges = np.linspace(0, 1, len(bins) + 1)
    axis.bar(edges[:-1], bins.n / bins.n.sum(), np.diff(edges), align="edge", color="0.86", lw=0)
    axis.plot([0, 1], [0, 1], color=GREY, lw=0.7, ls="--")
    filled = bins[bins.n > 0]
    for _, row in filled.iterrows():
        queries = max(1, round(row.n))  # over several draws a bin can hold a share of a query
        low, high = stats.binomtest(round(row.hits), queries).proportion_ci(method="wilson")
        axis.plot([row.mass / row.n] * 2, [low, high], color=PALETTE[0], lw=0.8)
    axis.plot(filled.mass / filled.n, filled.hits / filled.n, "o", ms=2.8, color=PALETTE[0], clip_on=False)
    axis.set_xlim(0, 1)
    axis.set_ylim(0, 1.02)
    axis.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    axis.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
    axis.set_box_aspect(1)
    sns.despine(ax=axis)


RELIABILITY = Figure(
    name="reliability",
    label="reliability diagrams",
    caption="Accuracy against confidence, seeds pooled, 95 % Wilson intervals; grey bars: share of queries.",
    reads=("reliability",),
    draw=draw_reliability,
    place=20,
    settings=first_modes,
)
