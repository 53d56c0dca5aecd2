"""Figures of a study, from the small files of evaluations, histories and explanations."""

from __future__ import annotations

from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from safetensors.numpy import load_file
from scipy import stats

from lookalike.data.prepared import PreparedData, open_data
from lookalike.explanation.drawing import draw_heat_maps, draw_influence, draw_memory, draw_weights
from lookalike.explanation.patch_drawing import draw_correspondences, draw_flow
from lookalike.explanation.prototype_drawing import draw_between, draw_looks_like, draw_prototypes
from lookalike.explanation.record import Explanation, read_explanations
from lookalike.plan import Plan
from lookalike.reporting.human_figures import (
    figure_classifiers,
    figure_human_accuracy,
    figure_human_contrasts,
    figure_human_sensitivity,
    figure_human_team,
    figure_published,
)
from lookalike.reporting.names import shown_explanations
from lookalike.reporting.style import GREY, PAGE, PALETTE, save_figure, set_style
from lookalike.reporting.summaries import GROUP, of_several_sizes, over_seeds, possible, read_metrics

PANELS_PER_ROW = 5
MOST_PANELS = 100
MARKERS = "osD^v"


def figure_accuracy(plan: Plan) -> Figure:
    """Accuracy and ECE of every model and mode: mean, 95 % interval, a tick for each seed."""
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
            _intervals(axis, part, metric, colours)
            axis.set_xlabel(label)
        row[0].set_title(_cell_title(cells, cell), loc="left")
    return figure


def _cell_title(cells: pd.DataFrame, cell: tuple[str, ...]) -> str:
    dataset, size, split = cell
    return dataset + (f", {size} images" if size != "all" else "") + (f", on {split}" if split != "test" else "")


def _intervals(axis: Axes, frame: pd.DataFrame, metric: str, colours: dict[str, tuple[float, ...]]) -> None:
    summary = over_seeds(frame, [metric], GROUP)
    for place, (_, row) in enumerate(summary.iterrows()):
        colour = colours[row.model]
        seeds = frame[(frame.model == row.model) & (frame["mode"] == row["mode"])][metric] * 100
        axis.plot(seeds, np.full(len(seeds), place), "|", ms=6, mew=0.8, color=colour)
        if not np.isnan(row[f"{metric}_low"]):
            low, high = possible(metric, row[f"{metric}_low"], row[f"{metric}_high"])
            axis.plot([low * 100, high * 100], [place, place], color=colour)
        axis.plot(row[metric] * 100, place, "o", ms=4.5, color=colour)
    axis.set_yticks(
        range(len(summary)), [f"{m}  {mode}" for m, mode in zip(summary.model, summary["mode"], strict=True)]
    )
    axis.set_ylim(len(summary) - 0.5, -0.5)
    axis.grid(axis="x", color="0.92", lw=0.6)
    sns.despine(ax=axis)


def figure_reliability(plan: Plan) -> Figure:
    """Reliability diagrams: accuracy against confidence in 15 bins, seeds pooled, 95 % Wilson intervals."""
    frame = read_metrics(plan, "reliability")
    keys, label = frame[GROUP].drop_duplicates(), "confidence"
    if len(keys) > MOST_PANELS:
        frame = _in_first_mode(frame[frame["size"] == plan.sizes[-1]], plan)
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
        _reliability(axis, part)
        where = [str(getattr(key, name)) for name in ("dataset", "size", "evaluation_set") if keys[name].nunique() > 1]
        axis.set_title("\n".join([*[", ".join(where)] * bool(where), f"{key.model}  {key.mode}"]), fontsize=6.5)
    for axis in list(axes.flat)[len(keys) :]:
        axis.set_axis_off()
    figure.supxlabel(label, fontsize=7)
    figure.supylabel("accuracy (bars: share of queries)", fontsize=7)
    return figure


def _reliability(axis: Axes, part: pd.DataFrame) -> None:
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


def figure_learning_curves(plan: Plan) -> Figure:
    """Training loss and accuracy by epoch: mean over seeds, band from the lowest to the highest seed."""
    parts = []
    for run in plan.runs():
        if run.trained:
            history = pd.read_csv(run.folder / "history.csv")
            parts.append(history.assign(dataset=run.dataset, size=run.size, model=run.model, seed=run.seed))
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
        there = [line for line in zip(*row[0].get_legend_handles_labels(), strict=True) if line[1] in set(part.model)]
        row[0].legend(*zip(*there, strict=True), title=None, frameon=False)
        row[0].set_title(_cell_title(cells, (*cell, "test")), loc="left")
    return figure


def figure_size(plan: Plan) -> Figure:
    """Accuracy against the number of training images, each model in its first mode: mean and 95 % interval."""
    frame = of_several_sizes(read_metrics(plan))
    frame = _in_first_mode(frame, plan)
    frame = frame.assign(network=frame.model.map({name: _network(plan, name) for name in plan.models}))
    cells = frame[["dataset", "evaluation_set", "network"]].drop_duplicates()
    columns = min(3, len(cells))
    lines = -(-len(cells) // columns)
    figure, axes = plt.subplots(
        lines, columns, figsize=(min(PAGE, 2.6 * columns + 0.9), 2.1 * lines), squeeze=False, layout="constrained"
    )
    for axis, cell in zip(axes.flat, cells.itertuples(index=False), strict=False):
        part = frame.merge(pd.DataFrame([cell]))
        _by_size(axis, over_seeds(part, ["accuracy"], GROUP), plan)
        title = _cell_title(cells[["dataset", "evaluation_set"]], (str(cell.dataset), "all", str(cell.evaluation_set)))
        several = cells.network.nunique() > 1
        axis.set_title(title + (f", {cell.network}" if several else ""), loc="left")
        axis.legend(frameon=False)
    for axis in list(axes.flat)[len(cells) :]:
        axis.set_axis_off()
    return figure


def _in_first_mode(frame: pd.DataFrame, plan: Plan) -> pd.DataFrame:
    """Rows of each model's first mode."""
    first = {name: settings["modes"][0] for name, settings in plan.models.items() if settings["modes"]}
    return frame[frame["mode"] == frame.model.map(first)]


def _network(plan: Plan, model: str) -> str:
    """The name of a model's backbone, its own or the one it takes over."""
    name: str = plan.models[plan.owner_of(model)]["backbone"]["name"]
    return name


def _by_size(axis: Axes, summary: pd.DataFrame, plan: Plan) -> None:
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
                low, high = possible("accuracy", row.accuracy_low, row.accuracy_high)
                axis.plot([place, place], [low * 100, high * 100], lw=0.8, color=colour)
    axis.set_xticks(list(places.values()), list(places))
    axis.set_xlabel("training images")
    axis.set_ylabel("accuracy (%)")
    axis.grid(axis="y", color="0.92", lw=0.6)
    sns.despine(ax=axis)


FIGURES: dict[str, Callable[[Plan], Figure]] = {
    "accuracy": figure_accuracy,
    "reliability": figure_reliability,
    "learning_curves": figure_learning_curves,
    "size": figure_size,
    "human_accuracy": figure_human_accuracy,
    "human_contrasts": figure_human_contrasts,
    "human_sensitivity": figure_human_sensitivity,
    "human_team": figure_human_team,
    "classifiers": figure_classifiers,
    "published": figure_published,
}


DRAWINGS: dict[str, Callable[[list[Explanation], PreparedData], Figure]] = {
    "weights": draw_weights,
    "influence": draw_influence,
    "memory": draw_memory,
    "heat_maps": draw_heat_maps,
    "correspondences": draw_correspondences,
    "flow": draw_flow,
    "looks_like": draw_looks_like,
}


# Of what `show_prototypes` found.
SHEETS: dict[str, Callable[[dict[str, np.ndarray], PreparedData], Figure]] = {
    "prototypes": draw_prototypes,
    "between": draw_between,
}


def draw_figure(plan: Plan, name: str) -> None:
    """Write results/<study>/figures/<name>.svg, .pdf and .png.

    Args:
        plan: the study.
        name: of `FIGURES`, or a kind of `DRAWINGS` or `SHEETS` and an explanation: `weights-digits-nw-all-full-test`.
    """
    set_style()
    kind, _, rest = name.partition("-")
    if kind in FIGURES:
        figure = FIGURES[kind](plan)
    else:
        found = shown_explanations(plan)[rest]
        data = open_data(found.run)
        if kind in SHEETS:
            figure = SHEETS[kind](load_file(found.run.prototypes(found.split)), data)
        else:
            figure = DRAWINGS[kind](read_explanations(found.run.explanations(found.mode, found.split)), data)
    save_figure(figure, plan.folder / "figures" / name)
