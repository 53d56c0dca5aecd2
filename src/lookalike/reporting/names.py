"""Names and files of tables and figures, for the workflow to know without drawing anything."""

from __future__ import annotations

from pathlib import Path

from lookalike.plan import Evaluation, Plan

TABLE_FORMATS = ("csv", "tex", "md")
FIGURE_FORMATS = ("svg", "pdf", "png")
TABLE_NAMES = ("accuracy", "calibration", "per_class", "comparison")
METHODS_WITH_INFLUENCE = ("nw",)


def table_names() -> list[str]:
    """Every table of a study."""
    return list(TABLE_NAMES)


def table_paths(plan: Plan, name: str) -> list[Path]:
    """The files of a table."""
    return [plan.folder / "tables" / f"{name}.{suffix}" for suffix in TABLE_FORMATS]


def shown_explanations(plan: Plan) -> dict[str, Evaluation]:
    """Drawn explanations, those of the first seed: `digits-nw-all-full-test` -> evaluation."""
    return {
        "-".join((e.run.dataset, e.run.model, e.run.size, e.mode, e.split)): e
        for e in plan.explanations(plan.seeds[:1])
    }


def figure_names(plan: Plan) -> list[str]:
    """Every figure of a study."""
    shown = shown_explanations(plan)
    with_influence = [name for name, e in shown.items() if e.run.settings["method"] in METHODS_WITH_INFLUENCE]
    trained = any(run.trained for run in plan.runs())
    return [
        "accuracy",
        "reliability",
        *["learning_curves"] * trained,
        *(f"weights-{name}" for name in shown),
        *(f"influence-{name}" for name in with_influence),
    ]


def figure_paths(plan: Plan, name: str) -> list[Path]:
    """The files of a figure."""
    return [plan.folder / "figures" / f"{name}.{suffix}" for suffix in FIGURE_FORMATS]
