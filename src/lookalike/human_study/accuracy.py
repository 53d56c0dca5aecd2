"""How often people judge an answer rightly, by condition."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lookalike.human_study.cells import Cell, drawn_cell, mean_cell, resampled
from lookalike.human_study.responses import Responses, by_session

CONFUSING = 0.25  # a query that fewer than this share of its trials judge rightly
DIFFICULTIES = ("easy", "medium", "hard")


def measure_accuracy(responses: Responses, random: np.random.Generator) -> list[Cell]:
    """Accuracy of each condition: mean over sessions, standard deviation, 95 % interval.

    By difficulty the published value is the plain mean over all non-empty cells (session, AI right or wrong): a session
    counts twice where it has both kinds. Its interval comes from drawing sessions.
    """
    numbers = []
    for condition in responses.conditions():
        trials = responses.trials[responses.trials.condition == condition]
        for measure, values in by_session(trials).items():
            numbers.append(mean_cell("accuracy", condition, str(measure), values.to_numpy()))
        cells = trials.groupby(["session", "ai_correct", "difficulty"]).correct.mean().reset_index()
        for level in DIFFICULTIES:
            numbers.append(_mean_of_cells(condition, level, cells[cells.difficulty == level], random))
        for (right, kind), part in trials.groupby(["ai_correct", "difficulty"]):
            column = f"{kind}_ai_{'right' if right else 'wrong'}"
            numbers.append(_by_sessions(condition, column, part))
        if "known" in trials:
            for is_known, part in trials.groupby("known"):
                numbers.append(_by_sessions(condition, "known" if is_known else "unknown", part))
        middle = trials.position.median()
        for first, part in trials.groupby(trials.position <= middle):
            numbers.append(_by_sessions(condition, "first_half" if first else "second_half", part))
    return numbers


def _by_sessions(condition: str, column: str, trials: pd.DataFrame) -> Cell:
    return mean_cell("accuracy", condition, column, trials.groupby("session").correct.mean().to_numpy())


def _mean_of_cells(condition: str, level: str, cells: pd.DataFrame, random: np.random.Generator) -> Cell:
    sums = cells.groupby("session").correct.agg(["sum", "count"]).to_numpy(np.float64)  # (S, 2)
    if not len(sums):
        return mean_cell("accuracy", condition, level, np.zeros(0))
    weights = resampled(random, len(sums))
    total, count = (weights @ sums).T
    return drawn_cell("accuracy", condition, level, cells.correct.mean(), total / count, "%", len(cells), 100)


def count_decisions(responses: Responses) -> list[Cell]:
    """Sessions, trials, acceptances, rejections and mean time of each condition, and of the whole study."""
    numbers = []
    for condition in responses.conditions():
        trials = responses.trials[responses.trials.condition == condition]
        sessions = responses.sessions[responses.sessions.condition == condition]
        counts = {
            "sessions": len(sessions),
            "trials": len(trials),
            "accept": int(trials.accepted.sum()),
            "reject": int((~trials.accepted).sum()),
        }
        numbers += [Cell("decisions", condition, name, count, "count") for name, count in counts.items()]
        numbers.append(mean_cell("decisions", condition, "time", sessions.seconds.to_numpy(), 1, "s"))
    whole = {
        "sessions": len(responses.sessions),
        "excluded": len(responses.excluded),
        "persons": responses.sessions.person.nunique(),
        "trials": len(responses.trials),
    }
    return numbers + [Cell("decisions", "all", name, count, "count") for name, count in whole.items()]


def count_confusing(responses: Responses, families: pd.Series | None) -> list[Cell]:
    """Queries that nearly nobody judges rightly, all conditions together, and the families of classes they are of.

    Args:
        responses: Responses of the study.
        families: Query -> family; counted where given.
    """
    right = responses.trials.groupby("query").correct.mean()
    confusing = responses.trials["query"].isin(right[right < CONFUSING].index)
    hard = responses.trials[confusing]
    numbers = [
        Cell("confusing", "all", "queries", hard["query"].nunique(), "count"),
        Cell("confusing", "all", "trials", len(hard), "count"),
    ]
    if families is None:
        return numbers
    every = responses.trials["query"].map(families)
    counts = every[confusing].value_counts(sort=False).sort_index().sort_values(ascending=False, kind="stable")
    for family, count in counts.items():
        numbers.append(Cell("confusing", str(family), "trials", int(count), "count"))
        share = 100 * count / int((every == family).sum())
        numbers.append(Cell("confusing", str(family), "share_of_own", share, "%", n=int((every == family).sum())))
    return numbers
