"""How well each score of each model tells out-of-distribution images from its own."""

from __future__ import annotations

from lookalike.reporting.catalogue import Table, TableContent
from lookalike.study.plan import Plan


def draw_ood(plan: Plan) -> TableContent:
    """One row a model, out-of-distribution set and score."""
    from lookalike.contracts.report import Column
    from lookalike.reporting.summaries import GROUP, add_cells, heading_columns, over_seeds, read_collected

    numbers = over_seeds(read_collected(plan, "ood_metrics"), ["auroc", "fpr95"], [*GROUP, "score"])
    shown = heading_columns(numbers)
    shown["Score"] = numbers["score"].str.replace("_", " ")
    fraction = (0.0, 1.0)
    columns = [Column("auroc", "AUROC (%)", 100, 2, fraction), Column("fpr95", "FPR95 (%)", 100, 2, fraction)]
    caption = (
        "Telling out-of-distribution images, those of another data set, from the test images of a model's own, each "
        "model in its first mode: area under the ROC curve (50 % is chance), and such images that pass where 95 % of "
        f"the test images do; mean over seeds and 95 % t interval. Study {plan.name}."
    )
    return TableContent(numbers, add_cells(shown, numbers, columns), caption)


OOD = Table(
    name="ood",
    label="out-of-distribution images told apart",
    reads=("ood_metrics",),
    draw=draw_ood,
    exists=lambda plan: any(True for _ in plan.ood_evaluations()),
    place=45,
)
