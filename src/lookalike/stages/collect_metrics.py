"""Gather the metrics of all evaluations of a study into small files that tables and figures read."""

from __future__ import annotations

from lookalike.core.files import write_sealed
from lookalike.reporting.collect import collect
from lookalike.reporting.writing import as_csv
from lookalike.study.plan import Plan


def collect_metrics(plan: Plan) -> str:
    """Write metrics.csv, class_metrics.csv, reliability.csv and ood_metrics.csv below results/<study>/tables/.

    Returns:
        How many evaluations there are.

    Raises:
        LookalikeError: A file of predictions is missing or damaged.
    """
    tables = collect(plan)
    for name, table in tables.items():
        write_sealed(plan.folder / "tables" / f"{name}.csv", as_csv(table))
    return f"{len(tables['metrics'])} evaluations"
