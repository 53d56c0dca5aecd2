"""Which tables and figures a study has: each exactly where its condition holds, in one order."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers.studies import make_plan, run_stage, tiny_study

from lookalike.contracts.report import ExplanationFigure, RunTable
from lookalike.core.errors import LookalikeError
from lookalike.methods.fc.classifier import FCClassifier
from lookalike.methods.nw.classifier import NWClassifier
from lookalike.methods.nw.settings import NWSettings
from lookalike.methods.registry import METHODS
from lookalike.pipeline.study_file import read_plan
from lookalike.reporting.catalogue import Figure, Table, declarations, figures_of, method_tables, tables_of
from lookalike.stages.draw_figure import draw_figure
from lookalike.stages.draw_table import draw_table
from lookalike.study.plan import Plan

ROOT = Path(__file__).parents[2]
TABLES = ["accuracy", "calibration", "per_class", "comparison"]  # of every study
FIGURES = ["accuracy", "reliability"]
FROZEN = {"backbone": {"name": "small_cnn", "weights": "weights.safetensors"}}
FC = {"fc": {"method": "fc"}}
PEOPLE = ["human_accuracy", "human_difficulty", "human_sensitivity", "human_contrasts", "human_clean"]
RESPONSES = {"sessions": "sessions.csv", "trials": "trials.csv"}
OUTPUTS = {"classifier_outputs": "outputs.csv"}
SHOWN = "digits-it-all"


def one_model(method: str, **settings: Any) -> dict[str, Any]:
    """A study with a model `it`."""
    return {"models": {"it": {"method": method, **settings}}}


def explained(mode: str, *kinds: str) -> list[str]:
    return [f"{kind}-{SHOWN}-{mode}-test" for kind in kinds]


# What a study adds to one that trains `fc` on all digits -> tables and figures that it has more.
CASES: dict[str, tuple[dict[str, Any], list[str], list[str]]] = {
    "nothing": ({}, [], ["learning_curves"]),
    "nothing is trained": (one_model("knn", **FROZEN, explain=[]), [], []),
    "one explanation": (one_model("knn", **FROZEN), [], explained("vote", "weights")),
    "several data sets": ({"datasets": ["digits", "critters"]}, [], ["learning_curves"]),
    "out-of-distribution": (
        {"datasets": {"digits": {}, "creatures": {"source": "critters", "ood_for": "digits"}}},
        ["ood"],
        ["learning_curves"],
    ),
    "known classes of another entry": (
        {"datasets": {"digits": {}, "others": {"source": "digits", "evaluated_with": "digits"}}},
        [],
        ["learning_curves"],
    ),
    "several sizes": ({"train_sizes": [100, "all"]}, ["size"], ["learning_curves", "size"]),
    "several sizes, one a model": (
        {
            "train_sizes": [100, "all"],
            "models": {"a": {"method": "fc", "train_sizes": [100]}, "b": {"method": "fc", "train_sizes": ["all"]}},
        },
        [],
        ["learning_curves"],
    ),
    "several sizes, one a data set": (
        {
            "train_sizes": [100, "all"],
            "datasets": {"digits": {"train_sizes": [100]}, "critters": {"train_sizes": ["all"]}},
        },
        [],
        ["learning_curves"],
    ),
    "responses": (
        {"human_studies": {"people": RESPONSES}},
        PEOPLE,
        ["learning_curves", "human_accuracy", "human_contrasts", "human_sensitivity"],
    ),
    "outputs of classifiers": (
        {"human_studies": {"people": OUTPUTS}},
        ["classifiers", "classifier_pairs"],
        ["learning_curves", "classifiers"],
    ),
    "responses and outputs": (
        {"human_studies": {"people": RESPONSES, "others": OUTPUTS}},
        [*PEOPLE, "classifiers", "classifier_pairs"],
        ["learning_curves", "human_accuracy", "human_contrasts", "human_sensitivity", "classifiers"],
    ),
    "teams": (
        {"human_studies": {"people": {**RESPONSES, **OUTPUTS, "tuning_images": 10}}},
        [*PEOPLE, "human_team", "classifiers", "classifier_pairs"],
        ["learning_curves", "human_accuracy", "human_contrasts", "human_sensitivity", "human_team", "classifiers"],
    ),
    "published numbers that it does not make": ({"published": ["memory_wrap"]}, [], ["learning_curves"]),
    "published numbers that it makes": (
        {"published": ["human_study"], "human_studies": {"cub": RESPONSES}},
        PEOPLE,
        ["learning_curves", "human_accuracy", "human_contrasts", "human_sensitivity", "published"],
    ),
    "nw": (one_model("nw"), [], ["learning_curves", *explained("full", "weights", "influence")]),
    "nw explains nothing": (one_model("nw", explain=[]), [], ["learning_curves"]),
    "memory_wrap": (
        one_model("memory_wrap"),
        ["explanations", "non_representativeness"],
        ["learning_curves", *explained("cached", "memory", "attribution")],
    ),
    "memory_wrap without attribution": (
        one_model("memory_wrap", inference={"attribution": None}),
        ["explanations", "non_representativeness"],
        ["learning_curves", *explained("cached", "memory")],
    ),
    "memory_wrap with counterfactuals": (
        one_model("baseline_memory", inference={"counterfactuals": {}}),
        ["explanations", "non_representativeness", "counterfactuals"],
        ["learning_curves", *explained("cached", "memory", "attribution")],
    ),
    "emd_corr": (one_model("emd_corr", **FROZEN), [], explained("vote", "correspondences", "flow")),
    "emd_corr with scores": (
        one_model("emd_corr", **FROZEN, inference={"correspondences": {}}),
        ["correspondences"],
        explained("vote", "correspondences", "flow"),
    ),
    "protoflow": (
        one_model("protoflow", backbone={"name": "dense_flow_small"}),
        ["prototypes"],
        ["learning_curves", *explained("posterior", "looks_like", "prototypes", "between")],
    ),
    "protoflow explains nothing": (
        one_model("protoflow", backbone={"name": "dense_flow_small"}, explain=[]),
        ["prototypes"],
        ["learning_curves"],
    ),
    "dense_flow beside": (
        {"models": {**FC, "flow": {"method": "dense_flow"}}},
        [],
        ["learning_curves"],
    ),
    "two rooms of one method": (
        {"models": {"it": {"method": "memory_wrap", "explain": []}, "b": {"method": "baseline_memory", "explain": []}}},
        ["explanations", "non_representativeness"],
        ["learning_curves"],
    ),
}


def plan_of_case(case: str, root: Path) -> Plan:
    study = {"train_sizes": ["all"], "models": FC, **CASES[case][0]}
    return make_plan(tiny_study(**study), root)


@pytest.mark.parametrize("case", CASES)
def test_a_table_or_figure_exists_where_its_condition_holds(case: str, tmp_path: Path) -> None:
    plan = plan_of_case(case, tmp_path)
    _, tables, figures = CASES[case]
    assert list(tables_of(plan)) == [*TABLES, *tables]
    assert list(figures_of(plan)) == [*FIGURES, *figures]


def test_every_declaration_is_in_a_case(tmp_path: Path) -> None:
    plans = [plan_of_case(case, tmp_path) for case in CASES]
    methods = [method.settings_class() for method in METHODS.values()]
    declared = [*declarations(Table, "lookalike.reporting.tables"), *method_tables(methods)]
    assert {table.name for table in declared} == {name for plan in plans for name in tables_of(plan)}
    kinds = {figure.name for figure in declarations(Figure, "lookalike.reporting.figures")}
    kinds |= {figure.kind for settings in methods for figure in settings.figures}
    assert kinds == {name.partition("-")[0] for plan in plans for name in figures_of(plan)}


def cells(kind: str, *cells: str) -> list[str]:
    return [f"{kind}-{cell}-test" for cell in cells]


def test_names_and_order_of_the_default_study() -> None:
    """As they were before declarations made them, but for the words that were renamed."""
    plan = read_plan(ROOT / "config.yaml")
    assert list(tables_of(plan)) == [
        *TABLES,
        *("ood", "size", "explanations", "non_representativeness", "counterfactuals", "correspondences", "prototypes"),
        *PEOPLE,
        *("human_team", "classifiers", "classifier_pairs"),
    ]
    sizes = ("100", "300", "all")
    memories = [f"digits-{model}-{size}-cached" for model in ("memory_wrap", "baseline_memory") for size in sizes]
    rankings = [
        f"{dataset}-{method}-all-vote" for dataset in ("digits", "critters") for method in ("emd_corr", "chm_corr")
    ]
    assert list(figures_of(plan)) == [
        *FIGURES,
        *("learning_curves", "size"),
        *cells("weights", "digits-nw-all-full", "digits-knn-all-vote", "critters-nw-all-full", "critters-knn-all-vote"),
        *cells("influence", "digits-nw-all-full", "critters-nw-all-full"),
        *cells("memory", *memories),
        *cells("attribution", *memories),
        *cells("correspondences", *rankings),
        *cells("flow", *rankings),
        *(f"{kind}-digits-protoflow-all-posterior-test" for kind in ("looks_like", "prototypes", "between")),
        *("human_accuracy", "human_contrasts", "human_sensitivity", "human_team", "classifiers", "published"),
    ]


def test_labels_and_captions_of_an_explanation(tmp_path: Path) -> None:
    figure = figures_of(plan_of_case("nw", tmp_path))[f"influence-{SHOWN}-full-test"]
    assert figure.label == f"most helpful and harmful training images, {SHOWN}-full-test"
    assert figure.caption.endswith(f" of the query most. {SHOWN}-full-test.")
    assert figure.module == "lookalike.methods.nw.drawing"
    assert figure.shows is not None
    assert figure.shows.run.id == "digits/it/all/seed0"


def test_only_the_first_seed_is_drawn(tmp_path: Path) -> None:
    one, three = (make_plan(tiny_study(seeds=seeds), tmp_path) for seeds in ([4], [4, 0, 1]))
    assert list(figures_of(one)) == list(figures_of(three))
    shown = [figure.shows for figure in figures_of(three).values() if figure.shows is not None]
    assert {evaluation.run.seed for evaluation in shown} == {4}


def test_two_of_one_name_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of_case("nw", tmp_path)
    table = RunTable("per_class", "another", columns=(), caption="")
    monkeypatch.setattr(NWSettings, "tables", (table,))
    message = r"two tables are called 'per_class', in lookalike.reporting.tables.per_class and .*run_tables; rename "
    with pytest.raises(LookalikeError, match=message):
        tables_of(plan)
    twin = replace(NWSettings.figures[0], draw="lookalike.methods.nw.drawing:draw_influence")
    monkeypatch.setattr(NWSettings, "figures", (*NWSettings.figures[:1], twin))
    with pytest.raises(LookalikeError, match=rf"two figures are called 'weights-{SHOWN}-full-test', in .*drawing and "):
        figures_of(plan)


def test_a_name_that_a_study_lacks_is_named(tiny: Plan) -> None:
    with pytest.raises(LookalikeError, match=r"tiny has no table 'ood'; there are accuracy, calibration, per_class, "):
        draw_table(tiny, "ood")
    with pytest.raises(LookalikeError, match=r"tiny has no figure 'size'; there are accuracy, reliability, learning"):
        draw_figure(tiny, "size")


def test_what_a_method_declares_stands_with_its_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new table or drawing of a method is a row in its settings class, and nothing else."""
    table = RunTable("strangeness", "how strange", columns=(), caption="")
    figure = ExplanationFigure("strange", "strange images", "Strange.", "lookalike.methods.nw.drawing:draw_influence")
    keyed = replace(figure, kind="stranger", key="inference.strangeness")
    monkeypatch.setattr(NWSettings, "tables", (table,))
    monkeypatch.setattr(NWSettings, "figures", (figure, keyed))
    with_nw, without = plan_of_case("nw", tmp_path), plan_of_case("memory_wrap", tmp_path)
    assert list(tables_of(with_nw)) == [*TABLES, "strangeness"]
    assert list(figures_of(with_nw))[3:] == [f"strange-{SHOWN}-full-test"]
    assert "strangeness" not in tables_of(without)
    assert not [name for name in figures_of(without) if name.startswith("strange")]


# Columns that methods add to predictions -----------------------------------------------------------


@pytest.mark.parametrize(("classifier", "run", "mode"), [(FCClassifier, "fc", "linear"), (NWClassifier, "nw", "full")])
def test_a_column_that_no_metric_takes_is_an_error(
    classifier: Any, run: str, mode: str, tiny: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = tiny.run(f"digits/{run}/100/seed0")
    for stage in ("train", "embed"):
        run_stage(tiny, stage, spec)
    monkeypatch.setattr(classifier, "query_metrics", lambda self, queries, mode: {"strangeness": queries.labels / 10})
    message = (
        rf"method {run} gives the column 'strangeness', which no metric takes; declare a metric of it in a module that "
        rf"{run.upper()}Settings.metrics names, or a score in its ood_scores\."
    )
    with pytest.raises(LookalikeError, match=message):
        run_stage(tiny, "evaluate", spec, mode, "test")
    assert not spec.predictions(mode, "test").exists()
    settings = type(tiny.models[run])
    monkeypatch.setattr(settings, "ood_scores", {"strangeness": -1})
    run_stage(tiny, "evaluate", spec, mode, "test")
    assert spec.predictions(mode, "test").exists()
