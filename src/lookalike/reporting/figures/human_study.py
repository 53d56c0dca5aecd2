"""Figures of a human study and of the classifiers it shows."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from lookalike.reporting.catalogue import HUMAN_STUDY, Figure, has_human_study
from lookalike.study.plan import Plan

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

SIGNIFICANT = 0.05
GAINS = {"gain": "as published", "gain_one_pool": "one pool of images", "gain_reweighted": "and reweighted"}


def draw_human_accuracy(plan: Plan) -> Drawing:
    """Accuracy of people by condition: all trials, those where the AI is right, and where it is wrong."""
    import matplotlib.pyplot as plt

    from lookalike.reporting.human_study_cells import read_cells
    from lookalike.reporting.panels import draw_rows
    from lookalike.reporting.style import PAGE

    cells = read_cells(plan, "accuracy")
    entries = list(dict.fromkeys(cells.entry))
    titles = {"balanced_accuracy": "all, balanced", "ai_right": "AI right", "ai_wrong": "AI wrong"}
    figure, axes = plt.subplots(
        len(entries), 3, figsize=(PAGE, 0.3 + 1.25 * len(entries)), squeeze=False, sharey="row", layout="constrained"
    )
    for row, entry in zip(axes, entries, strict=True):
        for axis, (column, title) in zip(row, titles.items(), strict=True):
            part = cells[(cells.entry == entry) & (cells.column == column)]
            colours = [_condition_style(name)[0] for name in part.row]
            draw_rows(axis, part, colours, filled=[_shows_patches(name) for name in part.row])
            axis.set_title(f"{entry}: {title}" if axis is row[0] else title, loc="left")
            axis.set_xlabel("right decisions (%)")
    return figure


def draw_human_contrasts(plan: Plan) -> Drawing:
    """All pairs of conditions: difference of accuracy; filled where it survives Holm's correction."""
    from matplotlib.lines import Line2D

    from lookalike.reporting.human_study_cells import read_cells
    from lookalike.reporting.panels import draw_rows, have_same_rows, panels_by_entry
    from lookalike.reporting.style import GREY, RIGHT

    cells = read_cells(plan, "contrasts")
    figure, panels = panels_by_entry(cells, 3.0, sharey=have_same_rows(cells))
    for entry, axis in panels.items():
        wide = cells[cells.entry == entry].pivot(index="row", columns="column", values="value")
        part = cells[(cells.entry == entry) & (cells.column == "difference")]
        colours = [RIGHT if wide.clean[name] == 1 else "0.35" for name in part.row]
        draw_rows(axis, part, colours, filled=[wide.p_holm[name] <= SIGNIFICANT for name in part.row])
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


def draw_human_sensitivity(plan: Plan) -> Drawing:
    """Discrimination against reluctance to accept, a cross a condition."""
    import seaborn as sns

    from lookalike.reporting.human_study_cells import read_cells
    from lookalike.reporting.panels import panels_by_entry
    from lookalike.reporting.style import GREY

    cells = read_cells(plan, "sensitivity")
    figure, panels = panels_by_entry(cells, 2.6, sharex=True, sharey=True)
    for entry, axis in panels.items():
        part = cells[cells.entry == entry]
        for name in dict.fromkeys(part.row):
            x, y = (part[(part.row == name) & (part.column == column)].iloc[0] for column in ("criterion", "d_prime"))
            colour, marker = _condition_style(name)
            axis.plot([x.low, x.high], [y.value] * 2, color=colour, lw=0.8)
            axis.plot([x.value] * 2, [y.low, y.high], color=colour, lw=0.8)
            face = colour if _shows_patches(name) else "white"
            axis.plot(x.value, y.value, marker, color=colour, mfc=face, ms=5, label=name)
        axis.axvline(0, color=GREY, lw=0.7, ls="--")
        axis.set_title(entry, loc="left")
        axis.set_xlabel("criterion (left: accepts readily)")
        sns.despine(ax=axis)
    first = next(iter(panels.values()))
    first.set_ylabel("sensitivity d'")
    figure.legend(*first.get_legend_handles_labels(), loc="outside right center", frameon=False)
    return figure


def draw_human_team(plan: Plan) -> Drawing:
    """What people add to the AI alone, by three estimates."""
    import numpy as np

    from lookalike.human_study.responses import CONDITIONS
    from lookalike.reporting.human_study_cells import read_cells
    from lookalike.reporting.panels import have_same_rows, name_rows, panels_by_entry
    from lookalike.reporting.style import GREY, PALETTE

    cells = read_cells(plan, "team")
    cells = cells[cells.row.isin(CONDITIONS)]
    figure, panels = panels_by_entry(cells, 2.8, sharey=have_same_rows(cells))
    for entry, axis in panels.items():
        for number, (column, label) in enumerate(GAINS.items()):
            part = cells[(cells.entry == entry) & (cells.column == column)]
            places = np.arange(len(part)) + 0.22 * (number - 1)
            colour = ("0.55", PALETTE[0], PALETTE[3])[number]
            axis.hlines(places, part.low, part.high, color=colour, lw=1)
            axis.plot(part.value, places, "osD"[number], color=colour, ms=3.5, label=label)
        axis.axvline(0, color=GREY, lw=0.7)
        name_rows(axis, list(part.row))
        axis.set_title(entry, loc="left")
        axis.set_xlabel("gain of the team over the AI alone (points)")
    handles = next(iter(panels.values())).get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=3, frameon=False)
    return figure


def draw_classifiers(plan: Plan) -> Drawing:
    """Accuracy of each classifier against its confidence, 95 % Wilson intervals."""
    import seaborn as sns

    from lookalike.human_study.responses import CLASSIFIERS
    from lookalike.reporting.human_study_cells import read_cells
    from lookalike.reporting.panels import panels_by_entry
    from lookalike.reporting.style import GREY

    cells = read_cells(plan, "by_confidence")
    figure, panels = panels_by_entry(cells, 2.5, sharex=True, sharey=True)
    for entry, axis in panels.items():
        axis.plot([0, 100], [0, 100], color=GREY, lw=0.7, ls="--")
        part = cells[cells.entry == entry]
        for name in CLASSIFIERS:
            rows = part[part.row == name]
            is_confidence = rows.column.str.endswith("_confidence")
            confidence, share = rows[is_confidence], rows[~is_confidence]
            colour, marker = _classifier_style(name)
            axis.vlines(confidence.value, share.low, share.high, color=colour, lw=0.6)
            axis.plot(confidence.value, share.value.to_numpy(), marker + "-", ms=2.5, lw=0.7, color=colour, label=name)
        axis.set_title(entry, loc="left")
        axis.set_xlabel("confidence (%)")
        sns.despine(ax=axis)
    first = next(iter(panels.values()))
    first.set_ylabel("right answers (%)")
    figure.legend(*first.get_legend_handles_labels(), loc="outside right center", frameon=False)
    return figure


def _classifier_style(name: str) -> tuple[Any, str]:
    """Colour and marker of a classifier."""
    from lookalike.human_study.responses import CLASSIFIERS
    from lookalike.reporting.style import PALETTE

    place = CLASSIFIERS.index(name)
    return PALETTE[(7, 0, 2, 3)[place]], "osD^"[place]


def _condition_style(condition: str) -> tuple[Any, str]:
    """Colour and marker of the classifier that a condition shows."""
    from lookalike.human_study.responses import CONDITIONS

    return _classifier_style(CONDITIONS[condition])


def _shows_patches(condition: str) -> bool:
    """Whether people see patch pairs in a condition."""
    return condition.endswith("Corr")


def _declare(name: str, label: str, draw: Callable[[Plan], Drawing], needs: str, place: int, caption: str) -> Figure:
    """A figure that exists where an entry has the key that it needs."""
    exists = partial(has_human_study, needs)
    return Figure(name, label, caption, (HUMAN_STUDY,), draw, exists, category="Human study", place=place)


HUMAN_STUDY_FIGURES = (
    _declare(
        "human_accuracy",
        "accuracy of people",
        draw_human_accuracy,
        "trials",
        60,
        "How often people judge a classifier's answer rightly, by condition: mean over sessions, 95 % t interval. "
        "Filled: patch pairs are shown.",
    ),
    _declare(
        "human_contrasts",
        "all pairs of conditions",
        draw_human_contrasts,
        "trials",
        61,
        "All pairs of conditions: difference of accuracy and Welch's 95 % interval; significance by Mann-Whitney U. "
        "Only blue pairs are of the same images and answers; the others mix explanation, classifier and images.",
    ),
    _declare(
        "human_sensitivity",
        "sensitivity and criterion of people",
        draw_human_sensitivity,
        "trials",
        62,
        "How well people tell right answers from wrong ones (d') against how reluctant they are to accept (criterion), "
        "95 % intervals from drawing persons and queries. Filled: patch pairs are shown. A shift to the right alone is "
        "rejecting more, not seeing better.",
    ),
    _declare(
        "human_team",
        "human-AI teams",
        draw_human_team,
        "tuning_images",
        63,
        "What people add to the AI alone, by three estimates: as published, on one pool of images, and with people's "
        "accuracy reweighted to that pool. 95 % intervals from drawing images, persons and queries.",
    ),
    _declare(
        "classifiers",
        "released outputs of classifiers",
        draw_classifiers,
        "classifier_outputs",
        64,
        "Accuracy against confidence, 95 % Wilson intervals; on the dashed line confidence is right.",
    ),
)
