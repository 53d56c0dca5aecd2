"""The human study: recomputed in the dullest way from the released files; statistics against their definitions."""

import csv
import gzip
import math
import random
import statistics
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from lookalike.core.errors import LookalikeError
from lookalike.human_study import contrasts, team
from lookalike.human_study.accuracy import count_confusing, count_decisions, measure_accuracy
from lookalike.human_study.cells import Cell, mean_cell
from lookalike.human_study.classifiers import compare_classifiers, measure_classifiers
from lookalike.human_study.responses import Outputs, Responses, difficulty, read_outputs, read_responses
from lookalike.metrics.statistics import summarise_seeds
from lookalike.stages.analyse_human_study import analyse_human_study
from lookalike.study.human_studies import FILES, HumanStudySettings
from lookalike.study.plan import Plan
from lookalike.study.read import check_study, read_study

ROOT = Path(__file__).parents[2]
CONFIG = read_study(ROOT / "config.yaml")
FOLDER = ROOT / "workflow" / "resources" / "human_study"


def settings_of(name: str) -> HumanStudySettings:
    """An entry of the default study, its paths made absolute."""
    values = CONFIG.human_studies[name].model_dump(mode="json")
    return HumanStudySettings.model_validate(values | {key: values[key] and str(ROOT / values[key]) for key in FILES})


@pytest.fixture(scope="module", params=["cub", "imagenet_clean"])
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def responses(name: str) -> Responses:
    return read_responses(settings_of(name))


def rows(name: str) -> list[dict[str, str]]:
    with gzip.open(FOLDER / f"{name}.csv.gz", "rt", newline="") as handle:
        return list(csv.DictReader(handle))


def dull_trials(name: str) -> list[dict[str, str]]:
    """Answers of the sessions that the authors kept, each with its condition."""
    kept = {s["session"]: s["condition"] for s in rows(f"sessions_{name}") if s["excluded_upstream"] == "0"}
    return [{**t, "condition": kept[t["session"]]} for t in rows(f"trials_{name}") if t["session"] in kept]


def short(name: str) -> str:
    return name.partition("_")[0]


def of(cells: list[Cell], table: str, row: str, column: str) -> Cell:
    (match,) = [cell for cell in cells if (cell.table, cell.row, cell.column) == (table, row, column)]
    return match


def test_rules_drop_the_sessions_that_the_authors_dropped(name: str, responses: Responses) -> None:
    dropped = {int(s["session"]) for s in rows(f"sessions_{short(name)}") if s["excluded_upstream"] == "1"}
    assert set(responses.excluded) == dropped
    assert len(dropped) == {"cub": 7, "imagenet_clean": 6}[name]
    assert all("at most 0.5" in reason for reason in responses.excluded.values())


def test_difficulty_is_that_of_the_file(name: str) -> None:
    trials = rows(f"trials_{short(name)}")
    right = np.array([t["ai_correct"] == "1" for t in trials])
    percent = np.array([round(100 * float(t["shown_confidence"])) for t in trials])
    assert difficulty(right, percent).tolist() == [t["difficulty"] for t in trials]


def test_accuracy_in_plain_loops(name: str, responses: Responses) -> None:
    cells = measure_accuracy(responses, np.random.default_rng(0)) + count_decisions(responses)
    trials = dull_trials(short(name))
    for condition in responses.conditions():
        of_condition = [t for t in trials if t["condition"] == condition]
        sessions: dict[str, list[dict[str, str]]] = {}
        for trial in of_condition:
            sessions.setdefault(trial["session"], []).append(trial)

        def share(part: list[dict[str, str]]) -> float:
            return 100 * sum(t["answered_correctly"] == "1" for t in part) / len(part)

        whole = [share(part) for part in sessions.values()]
        cell = of(cells, "accuracy", condition, "accuracy")
        assert (cell.value, cell.sd, cell.n) == pytest.approx(
            (statistics.mean(whole), statistics.stdev(whole), len(sessions))
        )
        half = stats.t.ppf(0.975, len(whole) - 1) * statistics.stdev(whole) / math.sqrt(len(whole))
        assert (cell.low, cell.high) == pytest.approx((cell.value - half, cell.value + half))
        for truth, column in (("1", "ai_right"), ("0", "ai_wrong")):
            parts = [share([t for t in part if t["ai_correct"] == truth]) for part in sessions.values()]
            assert of(cells, "accuracy", condition, column).value == pytest.approx(statistics.mean(parts))
        for level in ("easy", "medium", "hard"):
            parts = [
                share(kept)
                for part in sessions.values()
                for truth in "01"
                if (kept := [t for t in part if (t["difficulty"], t["ai_correct"]) == (level, truth)])
            ]
            cell = of(cells, "accuracy", condition, level)
            assert cell.value == pytest.approx(statistics.mean(parts))
            assert cell.low < cell.value < cell.high
        first = [share([t for t in part if int(t["row_in_session"]) <= 15]) for part in sessions.values()]
        assert of(cells, "accuracy", condition, "first_half").value == pytest.approx(statistics.mean(first))
        accepted = sum(t["response"] == "accept" for t in of_condition)
        assert of(cells, "decisions", condition, "accept").value == accepted
        assert of(cells, "decisions", condition, "reject").value == len(of_condition) - accepted


def test_balanced_accuracy_is_the_expectation_of_the_subsamples(responses: Responses) -> None:
    trials = responses.trials[responses.trials.session == responses.trials.session.iloc[0]]
    drawn = contrasts._subsampled(trials, np.random.default_rng(0))
    parts = [trials[trials.ai_correct == kind].correct.mean() for kind in (True, False)]
    assert drawn.to_numpy().mean() == pytest.approx(sum(parts) / 2, abs=1e-3)


def test_confusing_queries_in_plain_loops(name: str, responses: Responses) -> None:
    answers: dict[str, list[bool]] = {}
    for trial in dull_trials(short(name)):
        answers.setdefault(trial["query"], []).append(trial["answered_correctly"] == "1")
    hard = [query for query, right in answers.items() if sum(right) / len(right) < 0.25]
    families = pd.Series({query: query[:1] for query in answers})
    cells = count_confusing(responses, families)
    assert of(cells, "confusing", "all", "queries").value == len(hard)
    assert of(cells, "confusing", "all", "trials").value == sum(len(answers[query]) for query in hard)
    for letter in {query[:1] for query in hard}:
        of_letter = [query for query in hard if query.startswith(letter)]
        every = sum(len(right) for query, right in answers.items() if query.startswith(letter))
        count = sum(len(answers[query]) for query in of_letter)
        assert of(cells, "confusing", letter, "trials").value == count
        assert of(cells, "confusing", letter, "share_of_own").value == pytest.approx(100 * count / every)


def test_teams_in_plain_loops(name: str, responses: Responses) -> None:
    """Threshold, AI alone and team by the definitions, image by image, with the authors' shuffles."""
    settings = settings_of(name)
    assert settings.classifier_outputs is not None
    assert settings.tuning_images is not None
    table = rows(Path(settings.classifier_outputs).name.removesuffix(".csv.gz"))
    outputs = read_outputs(settings.classifier_outputs)
    cells = team.form_teams(responses, outputs, settings.tuning_images, np.random.default_rng(0))
    random.seed(42)
    for key, condition in (
        ("resnet50", "ResNet-50"),
        ("knn", "kNN"),
        ("emd_corr", "EMD-Corr"),
        ("chm_corr", "CHM-Corr"),
    ):
        column = "resnet50_conf_pct" if key == "resnet50" else f"{key}_votes20"
        images = [(int(r[column]) * (1 if key == "resnet50" else 5), r[f"{key}_correct"] == "1") for r in table]
        order = list(range(len(images)))
        random.shuffle(order)
        parts = [images[row] for row in order]
        tuning, rest = parts[: settings.tuning_images], parts[settings.tuning_images :]
        best, threshold = -1, 0
        for candidate in range(0, 101, 5):
            hits = sum((percent >= candidate) == right for percent, right in tuning)
            if hits >= best:
                best, threshold = hits, candidate
        alone = 100 * sum((percent >= threshold) == right for percent, right in rest) / len(rest)
        sure = [right for percent, right in images if percent >= threshold]
        below = [
            t
            for t in dull_trials(short(name))
            if t["condition"] == condition and round(100 * float(t["shown_confidence"])) < threshold
        ]
        human = sum(t["answered_correctly"] == "1" for t in below) / len(below)
        s, a = len(sure) / len(images), sum(sure) / len(sure)
        numbers = {cell.column: cell.value for cell in cells if cell.row == condition}
        assert numbers["threshold"] == threshold / 100
        assert numbers["ai_alone"] == pytest.approx(alone)
        assert numbers["team"] == pytest.approx(100 * (s * a + (1 - s) * human))
        assert numbers["gain"] == pytest.approx(numbers["team"] - numbers["ai_alone"])
        # On one pool: team less what "accept from T on" decides rightly there.
        wrong = [not right for percent, right in images if percent < threshold]
        pooled = 100 * sum((percent >= threshold) == right for percent, right in images) / len(images)
        assert numbers["gain_one_pool"] == pytest.approx(numbers["team"] - pooled)
        share = sum(wrong) / len(wrong)
        by_kind = [
            statistics.mean(t["answered_correctly"] == "1" for t in below if t["ai_correct"] == truth) for truth in "01"
        ]
        assert numbers["human_reweighted"] == pytest.approx(100 * (share * by_kind[0] + (1 - share) * by_kind[1]))
        assert numbers["human_trials_ai_right"] == sum(t["ai_correct"] == "1" for t in below)
        best, strict = -1, 0
        for candidate in range(0, 101, 5):
            hits = sum((percent > candidate) == right for percent, right in tuning)
            if hits >= best:
                best, strict = hits, candidate
        assert numbers["threshold_strict"] == strict / 100
        hits = sum((percent > strict) == right for percent, right in rest)
        assert numbers["ai_alone_strict"] == pytest.approx(100 * hits / len(rest))
    for cell in cells:
        if cell.column in ("team", "gain", "gain_one_pool", "gain_reweighted") and cell.row != "average":
            assert cell.low < cell.value < cell.high, cell


@given(st.lists(st.tuples(st.integers(0, 100), st.booleans()), min_size=1, max_size=60))
def test_thresholds(images: list[tuple[int, bool]]) -> None:
    percent, right = (np.array(values) for values in zip(*images, strict=True))
    outputs = Outputs(right, percent, percent, None)
    histogram = team._histogram(outputs, np.arange(len(images)))
    by_hand = [sum((p >= t) == r for p, r in images) for t in range(0, 101, 5)]
    assert team.verified(histogram).tolist() == by_hand
    assert team.best_level(histogram) == max(k for k, hits in enumerate(by_hand) if hits == max(by_hand))


scores = arrays(np.int64, st.integers(3, 30), elements=st.integers(0, 12))


@given(scores, scores)
def test_cliffs_delta(a: np.ndarray, b: np.ndarray) -> None:
    delta, low, high = contrasts.cliffs_delta(a, b)
    u = stats.mannwhitneyu(a, b, method="asymptotic").statistic if len({*a, *b}) > 1 else len(a) * len(b) / 2
    assert delta == pytest.approx(2 * u / (len(a) * len(b)) - 1, abs=1e-12)
    assert -1 - 1e-9 <= low <= delta + 1e-9
    assert delta - 1e-9 <= high <= 1 + 1e-9
    swapped = contrasts.cliffs_delta(b, a)
    assert swapped == pytest.approx((-delta, -high, -low), abs=1e-9)


def drawn_responses(effect: float, persons: int = 24, queries: int = 40) -> Responses:
    """Two conditions, every person judges every query."""
    rng = np.random.default_rng(3)
    hardness = rng.normal(0, 0.15, queries)
    table = []
    for person in range(persons):
        boxed = person % 2 == 1
        skill = rng.normal(0, 0.05)
        for query in range(queries):
            right = query % 2 == 0
            chance = 0.65 + hardness[query] + skill + effect * boxed
            correct = rng.random() < chance
            accepted = correct == right
            table.append(
                (person, "EMD-Corr" if boxed else "EMD-NN", person, query + 1, query, right, accepted, correct)
            )
    columns = ["session", "condition", "person", "position", "query", "ai_correct", "accepted", "correct"]
    trials = pd.DataFrame(table, columns=columns).assign(percent=50, difficulty="medium")
    sessions = trials[["session", "condition", "person"]].drop_duplicates().assign(seconds=1.0, first_session=True)
    return Responses(sessions.reset_index(drop=True), trials, {})


def test_clean_contrast_of_a_balanced_design_is_the_difference_of_means() -> None:
    responses = drawn_responses(0.15)
    cells = contrasts.compare_clean(responses, np.random.default_rng(0))
    means = responses.trials.groupby("condition").correct.mean()
    expected = 100 * (means["EMD-Corr"] - means["EMD-NN"])
    row = "EMD-Corr vs EMD-NN, all"
    mixed, boot = (of(cells, "clean_contrasts", row, column) for column in ("mixed_model", "bootstrap"))
    assert mixed.value == pytest.approx(expected, abs=1e-3)
    assert boot.value == pytest.approx(expected)
    for cell in (mixed, boot):
        assert cell.low < expected < cell.high
    # In a balanced design the error of the difference is that of the persons' means, up to variances cut at 0.
    by_person = responses.trials.groupby(["condition", "person"]).correct.mean() * 100
    error = math.sqrt(sum(part.var() / len(part) for _, part in by_person.groupby(level=0)))
    assert (mixed.high - mixed.low) / (2 * contrasts.Z) == pytest.approx(error, rel=0.1)
    # Same bytes again.
    again = contrasts.compare_clean(responses, np.random.default_rng(0))
    assert repr(again) == repr(cells)


def test_sensitivity() -> None:
    responses = drawn_responses(0)
    cells = contrasts.measure_sensitivity(responses, np.random.default_rng(0))
    part = responses.trials[responses.trials.condition == "EMD-NN"]
    z = []
    for kind in (True, False):
        accepted = part[part.ai_correct == kind].accepted
        z.append(stats.norm.ppf((accepted.sum() + 0.5) / (len(accepted) + 1)))
    assert of(cells, "sensitivity", "EMD-NN", "d_prime").value == pytest.approx(z[0] - z[1])
    assert of(cells, "sensitivity", "EMD-NN", "criterion").value == pytest.approx(-(z[0] + z[1]) / 2)


def test_rejecting_more_is_not_seeing_better() -> None:
    """People who reject by a coin's toss more often lose where the AI is right, win where it is wrong; d' stays 0."""
    rng = np.random.default_rng(0)
    trials = pd.concat(
        pd.DataFrame(
            {
                "session": person,
                "condition": "EMD-Corr" if person % 2 else "EMD-NN",
                "person": person,
                "query": np.arange(100),
                "ai_correct": np.arange(100) % 2 == 0,
                "accepted": rng.random(100) < (0.5 if person % 2 else 0.9),
            }
        )
        for person in range(40)
    ).reset_index(drop=True)
    trials["correct"] = trials.accepted == trials.ai_correct
    sessions = trials[["session", "condition", "person"]].drop_duplicates()
    cells = contrasts.measure_sensitivity(Responses(sessions, trials, {}), np.random.default_rng(0))
    for condition in ("EMD-NN", "EMD-Corr"):
        assert abs(of(cells, "sensitivity", condition, "d_prime").value) < 0.15
    criteria = [of(cells, "sensitivity", c, "criterion").value for c in ("EMD-NN", "EMD-Corr")]
    assert criteria[1] - criteria[0] > 1


def test_crossed_weights_draw_as_many_as_there_are() -> None:
    responses = drawn_responses(0)
    weights = contrasts.crossed_weights(responses.trials, np.random.default_rng(0))
    assert weights.shape == (2000, len(responses.trials))
    for kind in (True, False):  # 12 persons x 20 queries a condition and kind, whatever is drawn
        for condition in ("EMD-NN", "EMD-Corr"):
            cell = ((responses.trials.ai_correct == kind) & (responses.trials.condition == condition)).to_numpy()
            np.testing.assert_array_equal(weights[:, cell].sum(1), 240)


def test_contrasts_against_scipy_and_holm_by_hand(name: str, responses: Responses) -> None:
    cells = contrasts.compare_conditions(responses, settings_of(name).tested, np.random.default_rng(0))
    p = {cell.row: cell.value for cell in cells if cell.column == "p"}
    assert len(p) == 15
    ranked = sorted(p, key=lambda row: p[row])
    worst = 0.0
    for rank, row in enumerate(ranked):
        worst = max(worst, min(1, p[row] * (15 - rank)))
        assert of(cells, "contrasts", row, "p_holm").value == pytest.approx(worst)
    assert {row for row in p if of(cells, "contrasts", row, "clean").value} == {
        "EMD-NN vs EMD-Corr",
        "CHM-NN vs CHM-Corr",
    }
    columns = {cell.column for cell in cells}
    assert ("p_by_person" in columns) == (name == "cub")  # on ImageNet nobody came twice, as far as is known
    if name == "cub":  # counts of 30 and shares rank the same
        counts = responses.trials.groupby(["condition", "session"]).correct.sum()
        for row in p:
            a, b = (counts[condition].to_numpy() for condition in row.split(" vs "))
            assert p[row] == pytest.approx(stats.mannwhitneyu(a, b, method="asymptotic").pvalue)
    else:
        borderline = of(cells, "contrasts", "ResNet-50 vs EMD-Corr", "p")
        assert borderline.low < 0.05 < borderline.high
        assert borderline.value == pytest.approx(0.0456, abs=1e-4)


def test_classifiers_in_plain_loops() -> None:
    table = rows("classifier_outputs_cub")
    outputs = read_outputs(str(FOLDER / "classifier_outputs_cub.csv.gz"))
    cells = measure_classifiers(outputs, np.random.default_rng(0)) + compare_classifiers(outputs)
    for key, label in (("knn", "kNN"), ("emd_corr", "EMD-Corr"), ("chm_corr", "CHM-Corr")):
        right = sum(row[f"{key}_correct"] == "1" for row in table)
        assert of(cells, "classifiers", label, "right").value == right
        assert of(cells, "classifiers", label, "top1").value == pytest.approx(100 * right / len(table))
        error = 0.0
        for votes in range(21):
            group = [row[f"{key}_correct"] == "1" for row in table if row[f"{key}_votes20"] == str(votes)]
            if group:
                error += abs(sum(group) / len(group) - votes / 20) * len(group) / len(table)
                assert of(cells, "by_confidence", label, str(votes)).value == pytest.approx(
                    100 * sum(group) / len(group)
                )
        assert of(cells, "classifiers", label, "calibration_error").value == pytest.approx(100 * error)
    both = [(row["knn_correct"] == "1", row["emd_corr_correct"] == "1") for row in table]
    only = [sum(a and not b for a, b in both), sum(b and not a for a, b in both)]
    row = "kNN vs EMD-Corr"
    assert [of(cells, "agreement", row, f"only_{which}").value for which in ("first", "second")] == only
    assert of(cells, "agreement", row, "p").value == pytest.approx(stats.binomtest(only[0], sum(only)).pvalue)
    assert of(cells, "agreement", row, "other_label").value == sum(r["knn_class"] != r["emd_corr_class"] for r in table)


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


SESSIONS = "session,condition\n1,kNN\n2,EMD-NN\n"
TRIALS = (
    "session,query,ai_correct,response,shown_confidence\n"
    "1,a.jpg,1,accept,0.9\n1,b.jpg,0,accept,0.4\n2,a.jpg,1,reject,0.9\n"
)


def written_settings(folder: Path, sessions: str = SESSIONS, trials: str = TRIALS) -> HumanStudySettings:
    return HumanStudySettings(
        sessions=write(folder / "sessions.csv", sessions), trials=write(folder / "trials.csv", trials)
    )


def test_an_export_without_the_optional_columns(tmp_path: Path) -> None:
    responses = read_responses(written_settings(tmp_path))
    assert responses.trials.correct.tolist() == [True, False, False]
    assert responses.trials.percent.tolist() == [90, 40, 90]
    assert responses.trials.position.tolist() == [1, 2, 1]
    assert responses.trials.difficulty.tolist() == ["easy", "medium", "easy"]
    assert responses.sessions.person.tolist() == [1, 2]
    cells = measure_accuracy(responses, np.random.default_rng(0)) + count_decisions(responses)
    assert of(cells, "accuracy", "kNN", "accuracy").value == 50
    assert math.isnan(of(cells, "accuracy", "EMD-NN", "ai_wrong").value)


@pytest.mark.parametrize(
    ("sessions", "trials", "message"),
    [
        (SESSIONS.replace("EMD-NN", "EMD"), TRIALS, r"sessions.csv, line 3: condition is none of ResNet-50, kNN"),
        (SESSIONS + "1,kNN\n", TRIALS, r"sessions.csv, line 4: session occurs twice"),
        (SESSIONS, TRIALS.replace("2,a", "7,a"), r"trials.csv, line 4: session is not in the sessions file"),
        (SESSIONS, TRIALS.replace("reject", "no"), r"trials.csv, line 4: response is neither accept nor reject"),
        (SESSIONS, TRIALS.replace("b.jpg,0", "b.jpg,2"), r"trials.csv, line 3: ai_correct is neither 0 nor 1"),
        (SESSIONS, TRIALS.replace("0.4", "40"), r"trials.csv, line 3: shown_confidence is no number from 0 to 1"),
        (SESSIONS, TRIALS.replace("query", "image"), r"trials.csv lacks column query; it has session, image"),
        (SESSIONS, TRIALS.splitlines()[0] + "\n", r"trials.csv has no rows"),
        (SESSIONS + "3,kNN\n", TRIALS, r"sessions.csv, line 4: session has no trials"),
        (
            SESSIONS.replace("2,", "b,"),
            TRIALS.replace("2,a", "b,a"),
            r"sessions.csv, line 3: session is no whole number",
        ),
        (SESSIONS, TRIALS.replace("b.jpg", "a.jpg"), r"trials.csv, line 3: the session judged that query before"),
    ],
)
def test_wrong_rows_are_named(tmp_path: Path, sessions: str, trials: str, message: str) -> None:
    with pytest.raises(LookalikeError, match=message):
        read_responses(written_settings(tmp_path, sessions, trials))


def test_conditions_that_cannot_be_compared(tmp_path: Path) -> None:
    responses = read_responses(written_settings(tmp_path))
    random = np.random.default_rng(0)
    assert contrasts.compare_conditions(responses, "accuracy", random) == []  # one session each
    with pytest.raises(LookalikeError, match=r"session 2 has no trial with a right AI, or none with a wrong one"):
        contrasts.compare_conditions(responses, "balanced_accuracy", random)


def test_answers_that_contradict_each_other(tmp_path: Path) -> None:
    head, *body = TRIALS.splitlines()
    text = "\n".join([head + ",answered_correctly", body[0] + ",1", body[1] + ",1", body[2] + ",0"])
    with pytest.raises(LookalikeError, match=r"trials.csv, line 3: answered_correctly contradicts"):
        read_responses(written_settings(tmp_path, trials=text))


def test_missing_and_damaged_files(tmp_path: Path) -> None:
    settings = written_settings(tmp_path)
    (tmp_path / "trials.csv").unlink()
    with pytest.raises(LookalikeError, match=r"trials.csv is missing"):
        read_responses(settings)
    cut = gzip.compress(TRIALS.encode())[:-20]
    (tmp_path / "trials.csv.gz").write_bytes(cut)
    with pytest.raises(LookalikeError, match=r"trials.csv.gz cannot be read as CSV"):
        read_responses(settings.model_copy(update={"trials": str(tmp_path / "trials.csv.gz")}))
    with pytest.raises(LookalikeError, match="has outputs of no classifier"):
        read_outputs(write(tmp_path / "outputs.csv", "a\n1\n"))
    with pytest.raises(LookalikeError, match=r"outputs.csv, line 3: knn_votes20 is no whole number from 0 to 20"):
        read_outputs(write(tmp_path / "outputs.csv", "knn_correct,knn_votes20\n1,3\n0,21\n"))


def test_an_entry_must_be_complete() -> None:
    values = CONFIG.model_dump(mode="json")
    values["human_studies"] = {"mine": {"sessions": "s.csv"}}
    with pytest.raises(LookalikeError, match=r"human_studies.mine: sessions and trials belong together; give both"):
        check_study(values, "mine.yaml")
    values["human_studies"] = {"mine": {"classifier_outputs": "c.csv", "tuning_images": 3}}
    with pytest.raises(LookalikeError, match=r"tuning_images needs sessions, trials and classifier_outputs"):
        check_study(values, "mine.yaml")
    with pytest.raises(LookalikeError, match=r"has no human study 'cup'; there are imagenet_clean, cub, imagenet_all"):
        analyse_human_study(Plan.of(CONFIG), "cup")


def test_mean_cell_leaves_out_sessions_without_a_value() -> None:
    cell = mean_cell("t", "r", "c", np.array([0.5, np.nan, 1.0]))
    expected = summarise_seeds(np.array([50.0, 100.0]))
    assert (cell.value, cell.sd, cell.low, cell.high, cell.n) == (
        expected.mean,
        expected.std,
        expected.low,
        expected.high,
        2,
    )


@pytest.mark.parametrize(
    ("people", "kinds"), [(("000", "0"), 2), (("NA", "NULL"), 2), (("7", "7"), 1), (("10", "9"), 2)]
)
def test_persons_are_text_as_it_stands(tmp_path: Path, people: tuple[str, str], kinds: int) -> None:
    """000 and 0 are two persons, NA is one; plain numbers are numbers, so that they have their own order."""
    head, *rows = SESSIONS.splitlines()
    text = "\n".join([head + ",person", *(f"{row},{person}" for row, person in zip(rows, people, strict=True))])
    responses = read_responses(written_settings(tmp_path, text + "\n"))
    assert responses.sessions.person.nunique() == kinds
    assert (responses.sessions.person.dtype == np.int64) == (people in (("7", "7"), ("10", "9")))


def test_an_empty_person_or_query_is_named(tmp_path: Path) -> None:
    head, *rows = SESSIONS.splitlines()
    text = "\n".join([head + ",person", f"{rows[0]},anna", f"{rows[1]},"])
    with pytest.raises(LookalikeError, match=r"sessions.csv, line 3: person is empty"):
        read_responses(written_settings(tmp_path, text + "\n"))
