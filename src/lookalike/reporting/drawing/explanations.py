"""One drawing of a study: the records of an explanation, or what an analysis left, by the function its method names."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from lookalike.contracts.explanation import read_explanations
from lookalike.contracts.report import ExplanationFigure
from lookalike.data.prepared import open_data
from lookalike.reporting.run_tables import read_analysis
from lookalike.study.plan import AnalysisRun, Evaluation, Plan

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_explanation(plan: Plan, declared: ExplanationFigure, shown: Evaluation | AnalysisRun) -> Figure:
    """Draw what a method declares.

    Args:
        plan: The study.
        declared: The method's declaration of the drawing.
        shown: The explanation or analysis that it shows.

    Raises:
        LookalikeError: A file is missing or damaged.
    """
    dataset = shown.run.dataset
    data = open_data(plan.data_folder(dataset), plan.datasets[dataset])
    module, _, name = declared.draw.partition(":")
    content: Any = (
        read_analysis(shown) if isinstance(shown, AnalysisRun) else read_explanations(shown.explanations, shown.origin)
    )
    figure: Figure = getattr(importlib.import_module(module), name)(content, data).figure
    return figure
