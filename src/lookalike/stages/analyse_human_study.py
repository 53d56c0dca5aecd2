"""Analyse people's responses and released outputs of classifiers: one long table of numbers with intervals."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pandas as pd

from lookalike.core.errors import LookalikeError
from lookalike.core.files import sha256, write_json, write_sealed
from lookalike.core.provenance import git_state
from lookalike.core.seeds import derive_seed
from lookalike.human_study.analysis import analyse_outputs, analyse_responses
from lookalike.human_study.cells import Cell
from lookalike.human_study.responses import read_families, read_outputs, read_responses
from lookalike.reporting.writing import as_csv
from lookalike.study.plan import Plan


def analyse_human_study(plan: Plan, name: str) -> str:
    """Write results/<study>/human_study/<name>.csv, and <name>.json that says what it follows from.

    Args:
        plan: The study.
        name: Entry of its `human_studies`.

    Returns:
        How many numbers there are, and how many sessions were excluded.

    Raises:
        LookalikeError: The entry or a file is missing, or a row is wrong.
    """
    if name not in plan.human_studies:
        raise LookalikeError(
            f"{plan.name} has no human study {name!r}; there are {', '.join(plan.human_studies) or 'none'}."
        )
    settings = plan.human_studies[name]
    cells: list[Cell] = []
    excluded: dict[int, str] = {}

    def generator(purpose: str) -> np.random.Generator:
        return np.random.default_rng(derive_seed(plan.seed, "human_study", name, purpose))

    outputs = None if settings.classifier_outputs is None else read_outputs(settings.classifier_outputs)
    if settings.trials is not None:
        responses = read_responses(settings)
        excluded = responses.excluded
        families = None if settings.queries is None else read_families(settings)
        cells += analyse_responses(responses, families, outputs, settings.tested, settings.tuning_images, generator)
    if outputs is not None:
        cells += analyse_outputs(outputs, generator)
    table, record = plan.human_study(name), plan.human_study(name).with_suffix(".json")
    write_sealed(table, as_csv(pd.DataFrame([asdict(cell) for cell in cells])))
    write_json(
        record,
        {
            "settings": settings.model_dump(mode="json"),
            "sha256": {key: sha256(path) for key, path in settings.files().items()},
            "excluded": {str(session): reason for session, reason in excluded.items()},
            "git": git_state(),
        },
    )
    return f"{len(cells)} numbers, {len(excluded)} sessions excluded"
