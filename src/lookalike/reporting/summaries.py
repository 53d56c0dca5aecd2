"""What tables and figures share: metrics read from files, summed up over seeds, written as text."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from lookalike.contracts.report import Column
from lookalike.core.tables import read_csv
from lookalike.metrics.statistics import Summary, summarise_seeds
from lookalike.reporting.catalogue import TableContent
from lookalike.reporting.collect import metrics_of
from lookalike.study.plan import Plan

GROUP = ["dataset", "size", "model", "mode", "evaluation_set"]
HEADINGS = {"dataset": "Data set", "size": "Size", "model": "Model", "mode": "Mode", "evaluation_set": "Evaluated on"}


def read_metrics(plan: Plan, name: str = "metrics") -> pd.DataFrame:
    """A file of `collect_metrics`, rows in the order of the study; of metrics.csv those of classifiers."""
    frame = read_collected(plan, name)
    return frame[frame.accuracy.notna()].reset_index(drop=True) if name == "metrics" else frame


def read_collected(plan: Plan, name: str = "metrics") -> pd.DataFrame:
    """A file of `collect_metrics`, the rows of methods that model images and classify nothing included."""
    return read_csv(plan.folder / "tables" / f"{name}.csv", dtype={"size": str})


def columns_of(plan: Plan, table: str, frame: pd.DataFrame) -> list[Column]:
    """The columns that metrics declare for a general table, those that a frame has."""
    return [
        Column(metric.name, metric.heading, metric.scale, metric.digits, metric.limits)
        for metric in metrics_of(plan).values()
        if table in metric.table.split() and metric.name in frame
    ]


def limits_of(plan: Plan, metric: str) -> tuple[float, float]:
    """The least and largest value that a metric can take."""
    return metrics_of(plan)[metric].limits


def draw_metrics_table(plan: Plan, table: str, frame: pd.DataFrame, caption: str) -> TableContent:
    """A general table of the metrics that declare it.

    Args:
        plan: The study.
        table: Name of the table.
        frame: Collected metrics.
        caption: Sentences below the table.
    """
    columns = columns_of(plan, table, frame)
    numbers = over_seeds(frame, [column.name for column in columns], GROUP)
    return TableContent(numbers, add_cells(heading_columns(numbers), numbers, columns), caption)


def of_several_sizes(frame: pd.DataFrame) -> pd.DataFrame:
    """The models that were trained on more than one number of images, data set by data set."""
    counts = frame.groupby(["dataset", "model"])["size"].transform("nunique")
    return frame[counts > 1]


def over_seeds(frame: pd.DataFrame, metrics: list[str], group: list[str]) -> pd.DataFrame:
    """Mean, std and 95 % interval of each metric over seeds, one row a group, order kept."""
    rows = []
    for key, part in frame.groupby(group, sort=False):
        row: dict[str, Any] = dict(zip(group, key, strict=True))
        for metric in metrics:
            row |= summary_columns(metric, summarise_seeds(part[metric].to_numpy()))
        row["seeds"] = len(part)
        rows.append(row)
    return pd.DataFrame(rows)


def summary_columns(name: str, summary: Summary) -> dict[str, float]:
    """Mean, standard deviation and ends of the interval, as columns named after the metric."""
    return {
        name: summary.mean,
        f"{name}_std": summary.std,
        f"{name}_low": summary.low,
        f"{name}_high": summary.high,
    }


def within(limits: tuple[float, float], low: float, high: float) -> tuple[float, float]:
    """The part of an interval that a number can take."""
    return max(low, limits[0]), min(high, limits[1])


def format_cell(row: pd.Series, column: Column) -> str:
    """`98.80 [98.37, 99.23]`: mean and 95 % interval over seeds; only the mean for one seed.

    Intervals end where the number does; the CSV has them as computed.
    """
    value = row[column.name]
    if column.plain:
        return format(value, column.plain)
    if np.isnan(value):
        return ""
    text = f"{value * column.scale:.{column.digits}f}"
    low, high = within(column.limits, row[f"{column.name}_low"], row[f"{column.name}_high"])
    if math.isnan(row[f"{column.name}_low"]):
        return text
    return f"{text} [{low * column.scale:.{column.digits}f}, {high * column.scale:.{column.digits}f}]"


def add_cells(shown: pd.DataFrame, numbers: pd.DataFrame, columns: Iterable[Column]) -> pd.DataFrame:
    """The formatted columns of a table added to its headings."""
    for column in columns:
        shown[column.heading] = [format_cell(row, column) for _, row in numbers.iterrows()]
    return shown


def heading_columns(frame: pd.DataFrame) -> pd.DataFrame:
    """Heading columns; a column that never varies is left out."""
    kept = [name for name in GROUP if name in ("model", "mode") or frame[name].nunique() > 1]
    return frame[kept].rename(columns=HEADINGS)
