"""Tables of a human study and of the classifiers it shows, from the long tables of its analysis."""

from __future__ import annotations

import math

import pandas as pd

from lookalike.plan import Plan

Tables = tuple[pd.DataFrame, pd.DataFrame, str]


def read_cells(plan: Plan, *tables: str) -> pd.DataFrame:
    """The cells of some tables, all entries of the study below each other: entry, table, row, column, value, ..."""
    parts = []
    for entry in plan.human_studies:
        frame = pd.read_csv(plan.human_study(entry), dtype={"row": str, "column": str})
        parts.append(frame[frame.table.isin(tables)].assign(entry=entry))
    return pd.concat(parts, ignore_index=True)


def table_human_accuracy(plan: Plan) -> Tables:
    """Accuracy of people by condition, and where the AI is right and where it is wrong."""
    columns = {"accuracy": "Accuracy (%)", "balanced_accuracy": "Balanced (%)", "ai_right": "AI right (%)"}
    columns |= {"ai_wrong": "AI wrong (%)", "known": "Class known (%)", "unknown": "Class unknown (%)"}
    columns |= {"first_half": "First half (%)", "second_half": "Second half (%)"}
    numbers, shown = _by_condition(plan, ["accuracy"], columns, 2, "accuracy")
    caption = (
        "How often people judge a classifier's answer rightly: mean over sessions, 95 % t interval. Balanced: mean of "
        "the accuracies where the AI is right and where it is wrong."
    )
    return numbers, shown, caption


def table_human_difficulty(plan: Plan) -> Tables:
    """Accuracy of people by how hard the answer is to judge."""
    levels = ("easy", "medium", "hard")
    columns = {level: f"{level.capitalize()} (%)" for level in levels}
    columns |= {f"{level}_ai_right": f"{level.capitalize()}, AI right (%)" for level in levels}
    columns |= {f"{level}_ai_wrong": f"{level.capitalize()}, AI wrong (%)" for level in levels}
    numbers, shown = _by_condition(plan, ["accuracy"], columns, 1, "easy")
    caption = (
        "Accuracy of people by difficulty: easy is a sure AI that is right or an unsure one that is wrong, hard the "
        "opposite. First three: mean over all cells (session, AI right or wrong), as published, interval from drawing "
        "sessions; others: mean over sessions and t interval."
    )
    return numbers, shown, caption


def table_human_sensitivity(plan: Plan) -> Tables:
    """Signal detection: does an explanation help to tell right from wrong, or only make people reject more?"""
    columns = {"accept": "Accepted", "reject": "Rejected", "time": "Time (s)"}
    columns |= {"accepts_right": "Accept, AI right (%)", "accepts_wrong": "Accept, AI wrong (%)"}
    columns |= {"d_prime": "d'", "criterion": "Criterion"}
    numbers, shown = _by_condition(plan, ["sensitivity", "decisions"], columns, 2, "d_prime")
    caption = (
        "Decisions, and what they say of discrimination (d', higher is better) and of reluctance to accept (criterion, "
        "0 is neutral, below it people accept too readily). 95 % intervals from drawing persons and queries; times are "
        "not comparable between conditions."
    )
    return numbers, shown, caption


def table_human_contrasts(plan: Plan) -> Tables:
    """All pairs of conditions."""
    numbers = read_cells(plan, "contrasts")
    wide = _wide(numbers)
    rows = []
    for (entry, pair), part in wide:
        clean = part["clean"].value == 1
        rows.append(
            {
                "Pool": entry,
                "Pair": pair,
                "Same images": "yes" if clean else "no",
                "Difference (points)": _interval(part["difference"], 2),
                "Cliff's delta": _interval(part["cliffs_delta"], 2),
                "p": _p(part["p"].value),
                "p (Holm)": _p(part["p_holm"].value),
                "Difference, persons as clusters": _interval(part.get("difference_by_person"), 2),
                "p, first sessions": _p(part["p_first_session"].value) if "p_first_session" in part else "",
            }
        )
    caption = (
        "Conditions compared by what their sessions score: two-sided Mann-Whitney U as published, and with Holm's "
        "correction over the pairs of a study; 95 % intervals. Same images: the two differ in the explanation alone; "
        "other pairs also in classifier and images."
    )
    return numbers, _filled(pd.DataFrame(rows)), caption


def table_human_clean(plan: Plan) -> Tables:
    """The pairs that differ in the explanation alone."""
    numbers = read_cells(plan, "clean_contrasts")
    rows = []
    for (entry, name), part in _wide(numbers):
        pair, _, which = name.rpartition(", ")
        rows.append(
            {
                "Pool": entry,
                "Pair": pair,
                "Trials": which,
                "Mixed model (points)": _interval(part["mixed_model"], 2),
                "p": _p(part["mixed_model_p"].value),
                "Bootstrap (points)": _interval(part["bootstrap"], 2),
                "d'": _interval(part.get("d_prime"), 2),
                "Criterion": _interval(part.get("criterion"), 2),
            }
        )
    caption = (
        "Patch pairs shown or not, same images and answers: difference of accuracy by a linear mixed model with "
        "persons and queries crossed, and by a bootstrap that draws both; difference of d' and criterion. "
        "95 % intervals."
    )
    return numbers, _filled(pd.DataFrame(rows)), caption


def table_human_team(plan: Plan) -> Tables:
    """Human-AI teams."""
    numbers = read_cells(plan, "team")
    rows = []
    for (entry, condition), part in _wide(numbers):
        if condition == "average":
            continue
        complementary = part["complementary"].value == 1
        right, trials = (int(part[name].value) for name in ("human_trials_ai_right", "human_trials"))
        rows.append(
            {
                "Pool": entry,
                "Condition": condition,
                "T": f"{part['threshold'].value:.2f}",
                "AI alone (%)": _interval(part["ai_alone"], 2),
                "Team (%)": _interval(part["team"], 2),
                "Gain (points)": _interval(part["gain"], 2),
                "Gain, one pool": _interval(part["gain_one_pool"], 2),
                "Gain, reweighted": _interval(part["gain_reweighted"], 2),
                "Gain, reweighted, T tuned": _interval(part["gain_reweighted_tuned"], 2),
                "Trials below T (AI right)": f"{trials} ({right})",
                "Complementary": "yes" if complementary else "no",
            }
        )
    caption = (
        "Human-AI teams: the AI decides from confidence T on, people below. Gain: as published, whose two terms are of "
        "different images; on one pool of images; and with people's accuracy reweighted to that pool's share of wrong "
        "answers below T. 95 % intervals from drawing images, persons and queries, T fixed or tuned in each draw. "
        "Complementary: the team is above the AI alone and people alone, intervals aside."
    )
    return numbers, _filled(pd.DataFrame(rows)), caption


def table_classifiers(plan: Plan) -> Tables:
    """The classifiers alone."""
    numbers = read_cells(plan, "classifiers")
    rows = []
    for (entry, name), part in _wide(numbers):
        rows.append(
            {
                "Pool": entry,
                "Classifier": name,
                "Images": f"{int(part['top1'].n):,}",
                "Top-1 (%)": _interval(part["top1"], 2),
                "Mean confidence (%)": f"{part['mean_confidence'].value:.1f}",
                "Calibration error (%)": _interval(part["calibration_error"], 2),
            }
        )
    caption = (
        "The classifiers alone, from their released outputs: top-1 accuracy with Wilson's 95 % interval, and "
        "calibration error with a group a vote count (ResNet-50: five points of confidence), interval from drawing "
        "images."
    )
    return numbers, pd.DataFrame(rows), caption


def table_classifier_pairs(plan: Plan) -> Tables:
    """Classifiers compared image by image."""
    numbers = read_cells(plan, "agreement")
    rows = []
    for (entry, pair), part in _wide(numbers):
        rows.append(
            {
                "Pool": entry,
                "Pair": pair,
                "Difference (points)": _interval(part["difference"], 2),
                "Only first right": f"{int(part['only_first'].value):,}",
                "Only second right": f"{int(part['only_second'].value):,}",
                "p": _p(part["p"].value),
                "p (Holm)": _p(part["p_holm"].value),
                "Other label": f"{int(part['other_label'].value):,}" if "other_label" in part else "",
            }
        )
    caption = (
        "Classifiers compared on the same images: difference of accuracy with 95 % interval, images that only one gets "
        "right, exact McNemar p and Holm's correction over the pairs of a pool, images that get another label."
    )
    return numbers, _filled(pd.DataFrame(rows)), caption


def _by_condition(
    plan: Plan, tables: list[str], columns: dict[str, str], digits: int, needed: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Cells of the conditions of all entries, one row a condition that has a number `needed`."""
    numbers = read_cells(plan, *tables)
    rows = []
    for (entry, condition), part in _wide(numbers):
        if needed in part:
            texts = {heading: _interval(part.get(name), digits) for name, heading in columns.items()}
            rows.append({"Pool": entry, "Condition": condition, "Sessions": _sessions(part), **texts})
    return numbers, _filled(pd.DataFrame(rows))


def _sessions(part: dict[str, pd.Series]) -> str:
    first = part.get("accuracy", part.get("sessions"))
    if first is None:
        return ""
    return f"{int(first.n or first.value)}"


def _wide(numbers: pd.DataFrame) -> list[tuple[tuple[str, str], dict[str, pd.Series]]]:
    """(Entry, row) and its cells by column, in the order of the file."""
    return [
        ((str(entry), str(row)), {str(cell.column): cell for _, cell in part.iterrows()})
        for (entry, row), part in numbers.groupby(["entry", "row"], sort=False)
    ]


def _interval(cell: pd.Series | None, digits: int) -> str:
    if cell is None or math.isnan(cell.value):
        return ""
    if cell.unit == "count":
        return f"{int(cell.value):,}"
    text = f"{cell.value:.{digits}f}"
    if math.isnan(cell.low):
        return text
    if cell.low == cell.high:  # no spread among the few sessions that have a value is no certainty
        return text
    low, high = (max(0.0, min(100.0, end)) if cell.unit == "%" else end for end in (cell.low, cell.high))
    return f"{text} [{low:.{digits}f}, {high:.{digits}f}]"


def _p(value: float) -> str:
    return f"{value:.1e}" if value < 0.001 else f"{value:.3f}"


def _filled(table: pd.DataFrame) -> pd.DataFrame:
    """Without the columns that are empty in every row."""
    return table[[name for name in table if (table[name] != "").any()]]
