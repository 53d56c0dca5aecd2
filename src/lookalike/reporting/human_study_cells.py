"""Numbers of the analysed human studies, as tables and figures read them."""

from __future__ import annotations

import math

import pandas as pd

from lookalike.core.tables import read_csv
from lookalike.study.plan import Plan

Cells = dict[str, pd.Series]


def read_cells(plan: Plan, *tables: str) -> pd.DataFrame:
    """The cells of some tables, all entries of the study below each other.

    Args:
        plan: The study.
        tables: Names of the tables.

    Returns:
        Columns entry, table, row, column, value, unit, sd, low, high, n.
    """
    parts = []
    for entry in plan.human_studies:
        frame = read_csv(plan.human_study(entry), dtype={"row": str, "column": str})
        parts.append(frame[frame.table.isin(tables)].assign(entry=entry))
    return pd.concat(parts, ignore_index=True)


def by_row(numbers: pd.DataFrame) -> list[tuple[tuple[str, str], Cells]]:
    """Entry and row, and its cells by column, in the order of the file."""
    return [
        ((str(entry), str(row)), {str(cell.column): cell for _, cell in part.iterrows()})
        for (entry, row), part in numbers.groupby(["entry", "row"], sort=False)
    ]


def format_interval(cell: pd.Series | None, digits: int = 2) -> str:
    """`84.10 [82.05, 86.15]`; the number alone where nothing is known of its spread; empty where there is none."""
    if cell is None or math.isnan(cell.value):
        return ""
    if cell.unit == "count":
        return f"{int(cell.value):,}"
    text = f"{cell.value:.{digits}f}"
    if math.isnan(cell.low):
        return text
    if cell.low == cell.high:  # no spread among the few sessions that have a value is no certainty
        return text
    low, high = (max(0.0, min(100.0, end)) if cell.unit == "%" else end for end in (cell.low, cell.high))
    return f"{text} [{low:.{digits}f}, {high:.{digits}f}]"


def format_p(value: float) -> str:
    """`0.042`, and `1.3e-05` below a thousandth."""
    return f"{value:.1e}" if value < 0.001 else f"{value:.3f}"


def without_empty(rows: list[dict[str, str]]) -> pd.DataFrame:
    """A table without the columns that are empty in every row."""
    table = pd.DataFrame(rows)
    return table[[name for name in table if (table[name] != "").any()]]


def by_condition(
    plan: Plan, tables: list[str], columns: dict[str, str], digits: int, needed: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Numbers and text of the conditions of all entries.

    Args:
        plan: The study.
        tables: Names of the tables that the cells stand in.
        columns: Column of the cells -> heading.
        digits: Digits after the point.
        needed: Column without which a condition is left out.
    """
    numbers = read_cells(plan, *tables)
    rows = []
    for (entry, condition), cells in by_row(numbers):
        if needed in cells:
            texts = {heading: format_interval(cells.get(name), digits) for name, heading in columns.items()}
            rows.append({"Pool": entry, "Condition": condition, "Sessions": _sessions(cells), **texts})
    return numbers, without_empty(rows)


def _sessions(cells: Cells) -> str:
    first = cells.get("accuracy", cells.get("sessions"))
    return "" if first is None else f"{int(first.n or first.value)}"
