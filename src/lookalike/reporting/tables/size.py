"""Accuracy of every model and mode by number of training images."""

from __future__ import annotations

from lookalike.reporting.catalogue import Table, TableContent, has_several_sizes
from lookalike.study.plan import Plan


def draw_size(plan: Plan) -> TableContent:
    """One column a number of images; the best of a column in bold."""
    import numpy as np
    import pandas as pd

    from lookalike.reporting.summaries import (
        GROUP,
        heading_columns,
        limits_of,
        of_several_sizes,
        over_seeds,
        read_metrics,
        within,
    )

    numbers = over_seeds(of_several_sizes(read_metrics(plan)), ["accuracy"], GROUP)
    best = numbers.groupby(["dataset", "size", "evaluation_set"])["accuracy"].transform("max")
    limits = limits_of(plan, "accuracy")
    cells = []
    for (_, row), top in zip(numbers.iterrows(), best, strict=True):
        low, high = within(limits, row["accuracy_low"], row["accuracy_high"])
        text = f"{row['accuracy'] * 100:.2f}"
        if not np.isnan(row["accuracy_low"]):
            text += f" \N{PLUS-MINUS SIGN} {row['accuracy_std'] * 100:.2f} [{low * 100:.2f}, {high * 100:.2f}]"
        cells.append(f"**{text}**" if row["accuracy"] == top else text)
    group = [name for name in GROUP if name != "size"]
    shown = numbers.assign(cell=cells).pivot(index=group, columns="size", values="cell").fillna("")
    shown = shown.reindex(pd.MultiIndex.from_frame(numbers[group].drop_duplicates())).reset_index()
    sizes = [size for size in plan.sizes if size in shown]
    headings = {size: size if size == "all" else f"{size} images" for size in sizes}
    labels = heading_columns(shown.assign(size="")).drop(columns="Size", errors="ignore")
    caption = (
        "Accuracy (%) by number of training images: mean, standard deviation and 95 % t interval over seeds; the best "
        f"of each column in bold. Study {plan.name}."
    )
    return TableContent(numbers, labels.join(shown[sizes].rename(columns=headings)), caption)


SIZE = Table(
    name="size",
    label="accuracy by number of training images",
    reads=("metrics",),
    draw=draw_size,
    exists=has_several_sizes,
    place=48,
)
