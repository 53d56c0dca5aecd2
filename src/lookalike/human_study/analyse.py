"""The stage: responses and classifier outputs in, one long table of numbers with intervals out."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pandas as pd

from lookalike.errors import LookalikeError
from lookalike.files import sha256, write_json, writing
from lookalike.human_study.accuracy import count_confusing, count_decisions, measure_accuracy
from lookalike.human_study.cells import Cell
from lookalike.human_study.classifiers import compare_classifiers, measure_classifiers
from lookalike.human_study.contrasts import compare_clean, compare_conditions, measure_sensitivity
from lookalike.human_study.responses import read_families, read_outputs, read_responses
from lookalike.human_study.settings import FILES, HumanStudySettings
from lookalike.human_study.team import form_teams
from lookalike.plan import Plan
from lookalike.provenance import git_state
from lookalike.seeds import derive_seed


def analyse_responses(plan: Plan, name: str) -> str:
    """Write results/<study>/human_study/<name>.csv, and <name>.json that says what it was made of.

    Args:
        plan: the study.
        name: an entry of its `human_studies`.

    Raises:
        LookalikeError: the entry or a file is missing, or a row is wrong.
    """
    if name not in plan.human_studies:
        raise LookalikeError(
            f"{plan.study} has no human study {name!r}; there are {', '.join(plan.human_studies) or 'none'}."
        )
    settings = HumanStudySettings.model_validate(plan.human_studies[name])
    cells: list[Cell] = []
    excluded: dict[int, str] = {}

    def random(purpose: str) -> np.random.Generator:
        return np.random.default_rng(derive_seed(plan.seed, "human_study", name, purpose))

    outputs = None if settings.classifier_outputs is None else read_outputs(settings.classifier_outputs)
    if settings.trials is not None:
        responses = read_responses(settings)
        excluded = responses.excluded
        families = None if settings.queries is None else read_families(settings)
        cells += measure_accuracy(responses, random("accuracy"))
        cells += count_decisions(responses)
        cells += count_confusing(responses, families)
        cells += compare_conditions(responses, settings.tested, random("subsamples"))
        cells += compare_clean(responses, random("clean contrasts"))
        cells += measure_sensitivity(responses, random("sensitivity"))
        if outputs is not None and settings.tuning_images is not None:
            cells += form_teams(responses, outputs, settings.tuning_images, random("team"))
    if outputs is not None:
        cells += measure_classifiers(outputs, random("classifiers"))
        cells += compare_classifiers(outputs)
    table, record = plan.human_study(name), plan.human_study(name).with_suffix(".json")
    with writing(table) as temporary:
        pd.DataFrame([asdict(cell) for cell in cells]).to_csv(temporary, index=False, lineterminator="\n")
    paths = {key: getattr(settings, key) for key in FILES if getattr(settings, key) is not None}
    write_json(
        record,
        {
            "settings": settings.model_dump(mode="json"),
            "sha256": {key: sha256(path) for key, path in paths.items()},
            "excluded": {str(session): reason for session, reason in excluded.items()},
            "git": git_state(),
        },
    )
    return f"{len(cells)} numbers, {len(excluded)} sessions excluded"
