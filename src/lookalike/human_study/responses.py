"""Responses and classifier outputs as tables, checked row by row; the columns are those of the released data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lookalike.core.errors import LookalikeError
from lookalike.study.human_studies import ExclusionRule, HumanStudySettings

# Condition -> the classifier whose answer it shows, in the order of the paper.
CONDITIONS = {
    "ResNet-50": "ResNet-50",
    "kNN": "kNN",
    "EMD-NN": "EMD-Corr",
    "EMD-Corr": "EMD-Corr",
    "CHM-NN": "CHM-Corr",
    "CHM-Corr": "CHM-Corr",
}
CLASSIFIERS = tuple(dict.fromkeys(CONDITIONS.values()))
VOTERS = 20
MEDIUM, HIGH = 35, 75  # percent of confidence from which it is medium, high
NAMES = ("person", "query", "condition", "gt", "parent_lvl12")  # columns of text
EMPTY = ("", "NA", "N/A", "n/a", "NaN", "nan", "null", "NULL", "None", "#N/A", "<NA>")  # cells of other columns


@dataclass(frozen=True)
class Responses:
    """The answers of a study.

    Attributes:
        sessions: Table with a row a kept session: session, condition, person, seconds, first_session (of its person),
            and what the file has besides.
        trials: Table with a row an answer of a kept session: session, condition, person, position, query, ai_correct,
            accepted, correct (bool), percent (shown confidence), difficulty, and known (bool), where participants were
            asked whether they know the class.
        excluded: Reason by number of the dropped session.
    """

    sessions: pd.DataFrame
    trials: pd.DataFrame
    excluded: dict[int, str]

    def conditions(self) -> list[str]:
        """The conditions that occur, in the order of the paper."""
        occurring = set(self.sessions.condition)
        return [name for name in CONDITIONS if name in occurring]


def read_responses(settings: HumanStudySettings) -> Responses:
    """Read sessions and trials, check them, and drop the sessions that the rules name.

    Raises:
        LookalikeError: The message names the file, the line and what is wrong.
    """
    assert settings.sessions is not None
    assert settings.trials is not None
    sessions = _read(settings.sessions, ["session", "condition"])
    trials = _read(settings.trials, ["session", "query", "ai_correct", "response", "shown_confidence"])
    _check(
        settings.sessions, sessions.condition.isin(list(CONDITIONS)), f"condition is none of {', '.join(CONDITIONS)}"
    )
    _check(settings.sessions, ~sessions.session.duplicated(), "session occurs twice")
    whole = pd.to_numeric(sessions.session, errors="coerce")
    _check(settings.sessions, whole.notna() & (whole % 1 == 0), "session is no whole number")
    _check(settings.trials, trials.session.isin(sessions.session), "session is not in the sessions file")
    _check(settings.sessions, sessions.session.isin(trials.session), "session has no trials")
    _check(settings.trials, ~trials.duplicated(["session", "query"]), "the session judged that query before")
    if "person" in sessions:
        _check(settings.sessions, sessions.person != "", "person is empty")
    _check(settings.trials, trials["query"] != "", "query is empty")
    _check(settings.trials, trials.response.isin(["accept", "reject"]), "response is neither accept nor reject")
    _check(settings.trials, trials.ai_correct.isin([0, 1]), "ai_correct is neither 0 nor 1")
    confidence = pd.to_numeric(trials.shown_confidence, errors="coerce")
    _check(settings.trials, confidence.between(0, 1), "shown_confidence is no number from 0 to 1")
    kept = pd.DataFrame(
        {
            "session": trials.session,
            "position": trials.get("row_in_session", trials.groupby("session").cumcount() + 1),
            "query": trials["query"],
            "ai_correct": trials.ai_correct == 1,
            "accepted": trials.response == "accept",
            "percent": (100 * confidence).round().astype(int),
        }
    )
    kept["correct"] = kept.accepted == kept.ai_correct
    kept["difficulty"] = difficulty(kept.ai_correct.to_numpy(), kept.percent.to_numpy())
    if "knows_label" in trials:
        _check(settings.trials, trials.knows_label.isin([0, 1]), "knows_label is neither 0 nor 1")
        kept["known"] = trials.knows_label == 1
    if "answered_correctly" in trials:
        same = (trials.answered_correctly == 1) == kept.correct
        _check(settings.trials, same, "answered_correctly contradicts ai_correct and response")
    sessions = sessions.assign(
        person=sessions.get("person", sessions.session),
        seconds=sessions["total_time_ms"] / 1000 if "total_time_ms" in sessions else np.nan,
    ).sort_values("session")
    sessions["first_session"] = ~sessions.person.duplicated()
    kept = kept.merge(sessions[["session", "condition", "person"]], on="session")
    excluded = _excluded(sessions, kept, settings.exclude, settings.sessions)
    return Responses(
        sessions[~sessions.session.isin(list(excluded))].reset_index(drop=True),
        kept[~kept.session.isin(list(excluded))].reset_index(drop=True),
        excluded,
    )


def difficulty(ai_correct: np.ndarray, percent: np.ndarray) -> np.ndarray:
    """How hard it is to judge an answer: a right one is easy where the AI is sure, a wrong one where it is not.

    Args:
        ai_correct: Whether the AI is right (N,).
        percent: Shown confidence (N,), in percent.

    Returns:
        Words easy, medium or hard (N,).
    """
    band = (percent >= MEDIUM).astype(int) + (percent >= HIGH)
    return np.array(["hard", "medium", "easy"])[np.where(ai_correct, band, 2 - band)]


def by_session(trials: pd.DataFrame) -> pd.DataFrame:
    """Accuracy of each session, on all trials, on those where the AI is right (wrong), and the mean of the two.

    The mean of the two is the exact expectation of the authors' 100 random 1:1 subsamples.
    """
    parts = trials.groupby(["session", "ai_correct"]).correct.mean().unstack()
    return pd.DataFrame(
        {
            "accuracy": trials.groupby("session").correct.mean(),
            "balanced_accuracy": parts.mean(axis=1, skipna=False),
            "ai_right": parts.get(True),
            "ai_wrong": parts.get(False),
        }
    )


def _excluded(
    sessions: pd.DataFrame, trials: pd.DataFrame, rules: tuple[ExclusionRule, ...], source: str
) -> dict[int, str]:
    measured = by_session(trials)
    excluded: dict[int, str] = {}
    for rule in rules:
        if rule.measure == "validation_correct":
            if "validation_correct" not in sessions:
                raise LookalikeError(f"{source} has no column validation_correct; take that rule out of `exclude`.")
            values = sessions.set_index("session").validation_correct
        else:
            values = measured[rule.measure].round(9)  # 16.5 of 30 twice must not differ by a float's last bit
        for session, value in values[values <= rule.at_most].items():
            excluded.setdefault(
                int(str(session)), f"{rule.measure.replace('_', ' ')} {value:.3g} is at most {rule.at_most:g}"
            )
    return excluded


def read_families(settings: HumanStudySettings) -> pd.Series:
    """Query -> family of its class: the WordNet parent where the file has it, else the last word of the class name.

    Raises:
        LookalikeError: The file is missing or lacks a column.
    """
    assert settings.queries is not None
    table = _read(settings.queries, ["query"])
    if "parent_lvl12" in table:
        families = table.parent_lvl12
    elif "gt" in table:
        families = table["gt"].str.split("_").str[-1]
    else:
        raise LookalikeError(f"{settings.queries} has neither parent_lvl12 nor gt; take `queries` out of the entry.")
    return pd.Series(families.to_numpy(), index=table["query"].to_numpy())


@dataclass(frozen=True)
class Outputs:
    """What one classifier said of every image of a pool.

    Attributes:
        correct: Whether each image got its class (N,).
        percent: Confidence of each image (N,), whole percent.
        groups: Number by which confidences are grouped (N,): votes, or five points of percent.
        label: Predicted class (N,), where the file has it.
    """

    correct: np.ndarray
    percent: np.ndarray
    groups: np.ndarray
    label: np.ndarray | None


def read_outputs(path: str) -> dict[str, Outputs]:
    """Classifier -> outputs on the images of a pool, in the order of the paper.

    Columns begin with the classifier's name in lower case, however its words are joined. Whether it is right stands in
    `<classifier>_correct`; its confidence in `<classifier>_conf_pct`, whole percent, or `<classifier>_votes20`, votes
    of 20 neighbours.

    Args:
        path: CSV file, one row an image.

    Raises:
        LookalikeError: The message names the file, the line and what is wrong.
    """
    table = _read(path, [])
    prefixes = {_plain(name): name for column in map(str, table) if (name := column.removesuffix("_correct")) != column}
    outputs = {
        name: _outputs_of(path, table, prefixes[_plain(name)]) for name in CLASSIFIERS if _plain(name) in prefixes
    }
    if not outputs:
        raise LookalikeError(f"{path} has outputs of no classifier; columns such as knn_correct and knn_votes20.")
    return outputs


def _plain(name: str) -> str:
    """A classifier's name without what joins its words: `EMD-Corr` is written in different ways."""
    return "".join(filter(str.isalnum, name.lower()))


def _outputs_of(path: str, table: pd.DataFrame, prefix: str) -> Outputs:
    """The outputs of the classifier whose columns have a prefix."""
    correct = table[f"{prefix}_correct"]
    _check(path, correct.isin([0, 1]), f"{prefix}_correct is neither 0 nor 1")
    votes, percent = f"{prefix}_votes{VOTERS}", f"{prefix}_conf_pct"
    if votes in table:
        _check(path, table[votes].isin(range(VOTERS + 1)), f"{votes} is no whole number from 0 to {VOTERS}")
        points, groups = table[votes] * (100 // VOTERS), table[votes]
    elif percent in table:
        _check(path, table[percent].isin(range(101)), f"{percent} is no whole number from 0 to 100")
        points, groups = table[percent], table[percent] // 5
    else:
        raise LookalikeError(f"{path} has no confidence of {prefix}; add column {percent} or {votes}.")
    label = table.get(f"{prefix}_class")
    return Outputs(
        correct.to_numpy() == 1,
        points.to_numpy(np.int64),
        groups.to_numpy(np.int64),
        None if label is None else label.to_numpy(),
    )


def _read(path: str, needed: list[str]) -> pd.DataFrame:
    try:
        # Names are text as it stands: 000 and 0 are two persons, and NA may be one.
        columns = pd.read_csv(Path(path), nrows=0).columns
        table = pd.read_csv(
            Path(path),
            dtype={name: str for name in NAMES if name in columns},
            keep_default_na=False,
            na_values={name: list(EMPTY) for name in columns if name not in NAMES},
        )
        for name in table.columns.intersection(list(NAMES)):
            if table[name].str.fullmatch("0|[1-9][0-9]{0,17}").all():  # plain numbers, which have their own order
                table[name] = table[name].astype(np.int64)
    except FileNotFoundError:
        raise LookalikeError(f"{path} is missing; run from a clone of the project, or change the path.") from None
    except (OSError, EOFError, ValueError) as error:
        raise LookalikeError(f"{path} cannot be read as CSV ({error}); restore it.") from None
    lacking = [name for name in needed if name not in table]
    if lacking:
        raise LookalikeError(f"{path} lacks column {lacking[0]}; it has {', '.join(table.columns)}.")
    if table.empty:
        raise LookalikeError(f"{path} has no rows; give the whole file.")
    return table


def _check(path: str, right: pd.Series, wrong: str) -> None:
    """Raise LookalikeError naming the first line where a check fails; the heading is line 1."""
    if not right.all():
        raise LookalikeError(f"{path}, line {int(np.argmin(right.to_numpy())) + 2}: {wrong}; mend that row.")
