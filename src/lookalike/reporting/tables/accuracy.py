"""Accuracy and calibration error of every model and mode."""

from __future__ import annotations

from lookalike.reporting.catalogue import Table, TableContent
from lookalike.study.plan import Plan


def draw_accuracy(plan: Plan) -> TableContent:
    """One row a model, mode and evaluation set."""
    from lookalike.reporting.summaries import draw_metrics_table, read_metrics

    caption = f"Accuracy and calibration error: mean over seeds and 95 % t interval. Study {plan.name}."
    return draw_metrics_table(plan, "accuracy", read_metrics(plan), caption)


ACCURACY = Table(
    name="accuracy", label="accuracy and ECE by model and mode", reads=("metrics",), draw=draw_accuracy, place=10
)
