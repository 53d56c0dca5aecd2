"""All numbers of a human study: tables of responses and classifier outputs in, one long list with intervals out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from lookalike.human_study.accuracy import count_confusing, count_decisions, measure_accuracy
from lookalike.human_study.cells import Cell
from lookalike.human_study.classifiers import compare_classifiers, measure_classifiers
from lookalike.human_study.contrasts import compare_clean, compare_conditions, measure_sensitivity
from lookalike.human_study.responses import Outputs, Responses
from lookalike.human_study.team import form_teams


def analyse_responses(
    responses: Responses,
    families: pd.Series | None,
    outputs: dict[str, Outputs] | None,
    tested: str,
    tuning_images: int | None,
    generator: Callable[[str], np.random.Generator],
) -> list[Cell]:
    """The numbers of people's responses.

    Args:
        responses: Answers of the study.
        families: Family of each query's class; None where the study has none.
        outputs: Outputs of each classifier on the pool of images; None where the study has none.
        tested: Number of a session that conditions are compared by: `accuracy` or `balanced_accuracy`.
        tuning_images: Images of the pool on which thresholds of teams are tuned; None for no teams.
        generator: Purpose -> source of randomness.
    """
    cells = measure_accuracy(responses, generator("accuracy"))
    cells += count_decisions(responses)
    cells += count_confusing(responses, families)
    cells += compare_conditions(responses, tested, generator("subsamples"))
    cells += compare_clean(responses, generator("clean contrasts"))
    cells += measure_sensitivity(responses, generator("sensitivity"))
    if outputs is not None and tuning_images is not None:
        cells += form_teams(responses, outputs, tuning_images, generator("team"))
    return cells


def analyse_outputs(outputs: dict[str, Outputs], generator: Callable[[str], np.random.Generator]) -> list[Cell]:
    """The numbers of classifiers alone.

    Args:
        outputs: Outputs of each classifier on the pool of images.
        generator: Purpose -> source of randomness.
    """
    return [*measure_classifiers(outputs, generator("classifiers")), *compare_classifiers(outputs)]
