"""Tables that methods declare: rows of their analyses or metrics, summed up over seeds."""

from __future__ import annotations

import importlib
from typing import Any

import pandas as pd

from lookalike.contracts.analysis import Analysis
from lookalike.contracts.report import RunTable
from lookalike.core.tables import read_table
from lookalike.core.tensor_store import load_tensors
from lookalike.reporting.catalogue import TableContent
from lookalike.reporting.summaries import GROUP, HEADINGS, add_cells, heading_columns, over_seeds, read_metrics
from lookalike.study.plan import AnalysisRun, Plan


def draw_run_table(plan: Plan, table: RunTable, analysis: Analysis | None) -> TableContent:
    """The content of a table that a method declares.

    Args:
        plan: The study.
        table: The declaration.
        analysis: The analysis whose output it reads; None where its rows are metrics.
    """
    metrics = read_metrics(plan)
    frame = metrics[metrics[table.needs].notna()] if analysis is None else _rows(plan, table, analysis, metrics)
    columns = [column for column in table.columns if column.name in frame]
    means = [column.name for column in columns if column.over_seeds == "mean"]
    numbers = over_seeds(frame, [*means, *(name for name in table.csv_columns if name in frame)], GROUP)
    worst = [column.name for column in columns if column.over_seeds == "max"]
    if worst:
        numbers = numbers.merge(frame.groupby(GROUP, sort=False)[worst].max().reset_index(), on=GROUP)
    shown = heading_columns(numbers)
    if table.mode_heading:
        shown = shown.rename(columns={HEADINGS["mode"]: table.mode_heading})
    else:
        shown = shown.drop(columns=HEADINGS["mode"])
    return TableContent(numbers, add_cells(shown, numbers, columns), f"{table.caption} Study {plan.name}.")


def _rows(plan: Plan, table: RunTable, analysis: Analysis, metrics: pd.DataFrame) -> pd.DataFrame:
    """One row a run and whatever the method tells apart."""
    module, _, name = table.rows.partition(":")
    summarise = getattr(importlib.import_module(module), name)
    rows: list[dict[str, Any]] = []
    for run in (run for run in plan.analyses() if run.analysis is analysis):
        mode = plan.models[run.run.model].modes[0]
        key = dict(zip(GROUP, (run.run.dataset, run.run.size, run.run.model, mode, run.evaluation_set), strict=True))
        same = (metrics[list(key)] == pd.Series(key)).all(axis=1) & (metrics["seed"] == run.run.seed)
        of_run = metrics[same].iloc[0].to_dict() if same.any() else {}
        for row in summarise(read_analysis(run), of_run):
            key_of_row = {**key, "mode": row.pop("mode", mode), "model": run.run.model + row.pop("suffix", "")}
            rows.append({**key_of_row, "seed": run.run.seed, **row})
    return pd.DataFrame(rows)


def read_analysis(run: AnalysisRun) -> Any:
    """What an analysis left: a data frame, or named arrays.

    Raises:
        LookalikeError: The file is missing or damaged, or is of another analysis.
    """
    if run.analysis.suffix == "safetensors":
        return {name: tensor.numpy() for name, tensor in load_tensors(run.output, run.origin).items()}
    return read_table(run.output, run.origin).to_pandas()
