"""Calibration and likelihood of every model and mode."""

from __future__ import annotations

from lookalike.reporting.catalogue import Table, TableContent
from lookalike.study.plan import Plan


def draw_calibration(plan: Plan) -> TableContent:
    """One row a model, mode and evaluation set; models of the images themselves included."""
    from lookalike.reporting.summaries import draw_metrics_table, read_collected

    caption = (
        "Calibration and likelihood: mean over seeds and 95 % t interval. Tempered: the logarithms of probabilities "
        "divided by a number fitted on one half of the queries and used on the other, both ways round. "
        f"Study {plan.name}."
    )
    return draw_metrics_table(plan, "calibration", read_collected(plan), caption)


CALIBRATION = Table(
    name="calibration", label="calibration and likelihood", reads=("metrics",), draw=draw_calibration, place=20
)
