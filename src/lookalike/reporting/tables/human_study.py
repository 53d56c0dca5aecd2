"""Tables of a human study and of the classifiers it shows, from the long tables of its analysis."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from lookalike.reporting.catalogue import HUMAN_STUDY, Table, TableContent, has_human_study
from lookalike.study.plan import Plan


def draw_human_accuracy(plan: Plan) -> TableContent:
    """Accuracy of people by condition, and where the AI is right and where it is wrong."""
    from lookalike.reporting.human_study_cells import by_condition

    columns = {"accuracy": "Accuracy (%)", "balanced_accuracy": "Balanced (%)", "ai_right": "AI right (%)"}
    columns |= {"ai_wrong": "AI wrong (%)", "known": "Class known (%)", "unknown": "Class unknown (%)"}
    columns |= {"first_half": "First half (%)", "second_half": "Second half (%)"}
    numbers, shown = by_condition(plan, ["accuracy"], columns, 2, "accuracy")
    caption = (
        "How often people judge a classifier's answer rightly: mean over sessions, 95 % t interval. Balanced: mean of "
        "the accuracies where the AI is right and where it is wrong."
    )
    return TableContent(numbers, shown, caption)


def draw_human_difficulty(plan: Plan) -> TableContent:
    """Accuracy of people by how hard the answer is to judge."""
    from lookalike.reporting.human_study_cells import by_condition

    levels = ("easy", "medium", "hard")
    columns = {level: f"{level.capitalize()} (%)" for level in levels}
    columns |= {f"{level}_ai_right": f"{level.capitalize()}, AI right (%)" for level in levels}
    columns |= {f"{level}_ai_wrong": f"{level.capitalize()}, AI wrong (%)" for level in levels}
    numbers, shown = by_condition(plan, ["accuracy"], columns, 1, "easy")
    caption = (
        "Accuracy of people by difficulty: easy is a sure AI that is right or an unsure one that is wrong, hard the "
        "opposite. First three: mean over all cells (session, AI right or wrong), as published, interval from drawing "
        "sessions; others: mean over sessions and t interval."
    )
    return TableContent(numbers, shown, caption)


def draw_human_sensitivity(plan: Plan) -> TableContent:
    """Signal detection: does an explanation help to tell right from wrong, or only make people reject more?"""
    from lookalike.reporting.human_study_cells import by_condition

    columns = {"accept": "Accepted", "reject": "Rejected", "time": "Time (s)"}
    columns |= {"accepts_right": "Accept, AI right (%)", "accepts_wrong": "Accept, AI wrong (%)"}
    columns |= {"d_prime": "d'", "criterion": "Criterion"}
    numbers, shown = by_condition(plan, ["sensitivity", "decisions"], columns, 2, "d_prime")
    caption = (
        "Decisions, and what they say of discrimination (d', higher is better) and of reluctance to accept (criterion, "
        "0 is neutral, below it people accept too readily). 95 % intervals from drawing persons and queries; times are "
        "not comparable between conditions."
    )
    return TableContent(numbers, shown, caption)


def draw_human_contrasts(plan: Plan) -> TableContent:
    """All pairs of conditions."""
    from lookalike.reporting.human_study_cells import by_row, format_interval, format_p, read_cells, without_empty

    numbers = read_cells(plan, "contrasts")
    rows = []
    for (entry, pair), cells in by_row(numbers):
        same = cells["clean"].value == 1
        rows.append(
            {
                "Pool": entry,
                "Pair": pair,
                "Same images": "yes" if same else "no",
                "Difference (points)": format_interval(cells["difference"]),
                "Cliff's delta": format_interval(cells["cliffs_delta"]),
                "p": format_p(cells["p"].value),
                "p (Holm)": format_p(cells["p_holm"].value),
                "Difference, persons as clusters": format_interval(cells.get("difference_by_person")),
                "p, first sessions": format_p(cells["p_first_session"].value) if "p_first_session" in cells else "",
            }
        )
    caption = (
        "Conditions compared by what their sessions score: two-sided Mann-Whitney U as published, and with Holm's "
        "correction over the pairs of a study; 95 % intervals. Same images: the two differ in the explanation alone; "
        "other pairs also in classifier and images."
    )
    return TableContent(numbers, without_empty(rows), caption)


def draw_human_clean(plan: Plan) -> TableContent:
    """The pairs that differ in the explanation alone."""
    from lookalike.reporting.human_study_cells import by_row, format_interval, format_p, read_cells, without_empty

    numbers = read_cells(plan, "clean_contrasts")
    rows = []
    for (entry, name), cells in by_row(numbers):
        pair, _, which = name.rpartition(", ")
        rows.append(
            {
                "Pool": entry,
                "Pair": pair,
                "Trials": which,
                "Mixed model (points)": format_interval(cells["mixed_model"]),
                "p": format_p(cells["mixed_model_p"].value),
                "Bootstrap (points)": format_interval(cells["bootstrap"]),
                "d'": format_interval(cells.get("d_prime")),
                "Criterion": format_interval(cells.get("criterion")),
            }
        )
    caption = (
        "Patch pairs shown or not, same images and answers: difference of accuracy by a linear mixed model with "
        "persons and queries crossed, and by a bootstrap that draws both; difference of d' and criterion. "
        "95 % intervals."
    )
    return TableContent(numbers, without_empty(rows), caption)


def draw_human_team(plan: Plan) -> TableContent:
    """Human-AI teams."""
    from lookalike.reporting.human_study_cells import by_row, format_interval, read_cells, without_empty

    numbers = read_cells(plan, "team")
    rows = []
    for (entry, condition), cells in by_row(numbers):
        if condition == "average":
            continue
        complementary = cells["complementary"].value == 1
        right, trials = (int(cells[name].value) for name in ("human_trials_ai_right", "human_trials"))
        rows.append(
            {
                "Pool": entry,
                "Condition": condition,
                "T": f"{cells['threshold'].value:.2f}",
                "AI alone (%)": format_interval(cells["ai_alone"]),
                "Team (%)": format_interval(cells["team"]),
                "Gain (points)": format_interval(cells["gain"]),
                "Gain, one pool": format_interval(cells["gain_one_pool"]),
                "Gain, reweighted": format_interval(cells["gain_reweighted"]),
                "Gain, reweighted, T tuned": format_interval(cells["gain_reweighted_tuned"]),
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
    return TableContent(numbers, without_empty(rows), caption)


def draw_classifiers(plan: Plan) -> TableContent:
    """The classifiers alone."""
    from lookalike.reporting.human_study_cells import by_row, format_interval, read_cells, without_empty

    numbers = read_cells(plan, "classifiers")
    rows = []
    for (entry, name), cells in by_row(numbers):
        rows.append(
            {
                "Pool": entry,
                "Classifier": name,
                "Images": f"{int(cells['top1'].n):,}",
                "Top-1 (%)": format_interval(cells["top1"]),
                "Mean confidence (%)": f"{cells['mean_confidence'].value:.1f}",
                "Calibration error (%)": format_interval(cells["calibration_error"]),
            }
        )
    caption = (
        "The classifiers alone, from their released outputs: top-1 accuracy with Wilson's 95 % interval, and "
        "calibration error with a group a vote count (ResNet-50: five points of confidence), interval from drawing "
        "images."
    )
    return TableContent(numbers, without_empty(rows), caption)


def draw_classifier_pairs(plan: Plan) -> TableContent:
    """Classifiers compared image by image."""
    from lookalike.reporting.human_study_cells import by_row, format_interval, format_p, read_cells, without_empty

    numbers = read_cells(plan, "agreement")
    rows = []
    for (entry, pair), cells in by_row(numbers):
        rows.append(
            {
                "Pool": entry,
                "Pair": pair,
                "Difference (points)": format_interval(cells["difference"]),
                "Only first right": f"{int(cells['only_first'].value):,}",
                "Only second right": f"{int(cells['only_second'].value):,}",
                "p": format_p(cells["p"].value),
                "p (Holm)": format_p(cells["p_holm"].value),
                "Other label": f"{int(cells['other_label'].value):,}" if "other_label" in cells else "",
            }
        )
    caption = (
        "Classifiers compared on the same images: difference of accuracy with 95 % interval, images that only one gets "
        "right, exact McNemar p and Holm's correction over the pairs of a pool, images that get another label."
    )
    return TableContent(numbers, without_empty(rows), caption)


def _declare(name: str, label: str, draw: Callable[[Plan], TableContent], needs: str, place: int) -> Table:
    """A table that exists where an entry has the key that it needs."""
    exists = partial(has_human_study, needs)
    return Table(name, label, (HUMAN_STUDY,), draw, exists, category="Human study", place=place)


HUMAN_STUDY_TABLES = (
    _declare("human_accuracy", "accuracy of people", draw_human_accuracy, "trials", 60),
    _declare("human_difficulty", "accuracy of people by difficulty", draw_human_difficulty, "trials", 61),
    _declare("human_sensitivity", "sensitivity and criterion of people", draw_human_sensitivity, "trials", 62),
    _declare("human_contrasts", "all pairs of conditions", draw_human_contrasts, "trials", 63),
    _declare("human_clean", "conditions that differ in the explanation alone", draw_human_clean, "trials", 64),
    _declare("human_team", "human-AI teams", draw_human_team, "tuning_images", 65),
    _declare("classifiers", "released outputs of classifiers", draw_classifiers, "classifier_outputs", 66),
    _declare("classifier_pairs", "classifiers on the same images", draw_classifier_pairs, "classifier_outputs", 67),
)
