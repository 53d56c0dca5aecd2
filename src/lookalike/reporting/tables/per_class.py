"""Accuracy of each class."""

from __future__ import annotations

from lookalike.reporting.catalogue import Table, TableContent
from lookalike.study.plan import Plan

SHOWN_CLASSES = 20


def draw_per_class(plan: Plan) -> TableContent:
    """Accuracy of each class, every model and mode; its spread over classes where they do not fit a page."""
    import numpy as np
    import pandas as pd

    from lookalike.reporting.summaries import GROUP, heading_columns, over_seeds, read_metrics

    numbers = over_seeds(read_metrics(plan, "class_metrics"), ["accuracy"], [*GROUP, "label"])
    if numbers["label"].nunique() > SHOWN_CLASSES:
        rows = []
        for key, part in numbers.groupby(GROUP, sort=False):
            percent = np.quantile(part["accuracy"], [0, 0.1, 0.5, 1]) * 100
            rows.append([*key, *(f"{value:.1f}" for value in percent)])
        text = pd.DataFrame(rows, columns=[*GROUP, "lowest class", "10th percentile", "median", "highest class"])
        caption = f"Spread of accuracy over classes (%), mean over seeds; the CSV has every class. Study {plan.name}."
        return TableContent(numbers, heading_columns(text).join(text.drop(columns=GROUP)), caption)
    shown = numbers.copy()
    shown["accuracy"] = (shown["accuracy"] * 100).map("{:.1f}".format)
    shown = shown.pivot(index=GROUP, columns="label", values="accuracy")
    shown = shown.reindex(pd.MultiIndex.from_frame(numbers[GROUP].drop_duplicates())).reset_index()
    return TableContent(
        numbers,
        heading_columns(shown).join(shown.drop(columns=GROUP)),
        f"Accuracy by class (%), mean over seeds. Study {plan.name}.",
    )


PER_CLASS = Table(name="per_class", label="accuracy by class", reads=("class_metrics",), draw=draw_per_class, place=30)
