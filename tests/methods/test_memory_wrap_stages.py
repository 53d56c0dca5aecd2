"""Memory Wrap and its rivals from training to tables: draws, explanations, scored counterfactuals."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.studies import finish, make_plan, opened, run_stage, tiny_study

from lookalike.contracts.explanation import read_explanations
from lookalike.core.errors import LookalikeError
from lookalike.data.images import open_images
from lookalike.methods.memory_wrap.analyses import _autoencoders
from lookalike.pipeline.bundle import bundle, rebuild, unbundle
from lookalike.pipeline.fingerprint import fingerprint
from lookalike.pipeline.stage_table import Item
from lookalike.reporting.catalogue import tables_of
from lookalike.reporting.collect import measure_predictions, metrics_of, read_predictions
from lookalike.reporting.figures import reliability
from lookalike.reporting.writing import as_latex
from lookalike.study.plan import Evaluation, Plan


def memory_models(**inference: object) -> dict[str, dict]:
    """Memory Wrap with scored counterfactuals, and its rivals."""
    training = {"epochs": 12, "batch_size": 16, "optimizer": "adamw", "lr": 0.003}
    counterfactuals = {"queries": 20, "iterations": 15, "epochs": 1}
    of_memory_wrap = {"attribution": {"baseline": "black"}, "counterfactuals": counterfactuals, **inference}
    common = {"training": training, "memory": {"size": 20}}
    return {
        "fc": {"method": "fc", "training": training},
        "memory_wrap": {"method": "memory_wrap", **common, "inference": of_memory_wrap},
        "protonet": {"method": "protonet", **common, "train_sizes": [100]},
        "matching": {"method": "matching", **common, "train_sizes": [100]},
    }


@pytest.fixture(scope="module")
def memory_plan(tmp_path_factory: pytest.TempPathFactory, digits: Path) -> Plan:
    """The finished tiny study with Memory Wrap, its rivals and scored counterfactuals; tests leave it as it is."""
    study = tiny_study(models=memory_models(), train_sizes=[100, 200])
    plan = make_plan(study, tmp_path_factory.mktemp("memory") / "results")
    plan.write()
    shutil.copytree(digits, plan.data_folder("digits"))
    finish(plan)
    run_stage(plan, "collect_metrics")
    return plan


def test_stages_of_methods_with_a_memory(memory_plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [run.id for run in memory_plan.runs() if run.model == "protonet"] == ["digits/protonet/100/seed0"]
    run = memory_plan.run("digits/memory_wrap/100/seed0")
    frame = read_predictions(Evaluation(run, "draws", "test"))
    assert sorted(frame.draw.unique()) == [0, 1, 2, 3, 4]
    cached = read_predictions(Evaluation(run, "cached", "test"))
    pd.testing.assert_frame_equal(frame[frame.draw == 0].drop(columns="draw").reset_index(drop=True), cached)
    inside = opened(memory_plan, run)
    model, queries = inside.classifier_with_support(), inside.queries("test", inside.data)
    hits = [
        float((log_probs.argmax(1) == queries.labels).float().mean())
        for log_probs in model.predict(queries, "draws").draws
    ]
    metrics = metrics_of(memory_plan)
    means = measure_predictions(frame, metrics)
    assert means["accuracy"] == pytest.approx(np.mean(hits))
    assert means["n"] == len(queries)
    each = [measure_predictions(part.drop(columns="draw"), metrics) for _, part in frame.groupby("draw")]
    for name in ("ece", "nll", "explanation_accuracy", "input_knn", "prediction_twin_upstream"):
        assert means[name] == pytest.approx(np.mean([of_draw[name] for of_draw in each]))

    records = read_explanations(run.explanations("cached", "test"))
    assert len(records) == 4
    for record in records:
        assert record.completeness_error < 0.01
        assert np.shape(record.attribution) == (8, 8)
        with_map = [e for e in record.exemplars if e.attribution is not None]
        assert with_map == [e for e in record.exemplars if e in (record.example, record.counterfactual)]

    output = next(analysis.output for analysis in memory_plan.analyses_of(run))
    scores = pd.read_parquet(output)
    assert scores.groupby("source").size().to_dict() == {"memory": 20, "search": 20}
    kept = scores[scores.found]
    assert (kept.predicted != kept.counterfactual).all()
    np.testing.assert_allclose(kept.im1, kept.new / kept.old, rtol=1e-5)
    np.testing.assert_allclose(kept.im2, kept.gap / kept["size"], rtol=1e-5)
    assert scores[~scores.found][["im1", "im2", "trust"]].isna().all(axis=None)
    before = output.read_bytes()
    assert run_stage(memory_plan, "analyse", run, evaluation_set="test", analysis="counterfactuals") == "40 rows"
    assert output.read_bytes() == before

    tables = tables_of(memory_plan)
    for name in ("size", "explanations", "non_representativeness", "counterfactuals", "comparison"):
        table = tables[name].draw(memory_plan)
        assert len(table.shown) == (3 if name == "size" else len(table.numbers)) > 0, name
        assert table.caption.endswith("."), name
    table = tables["size"].draw(memory_plan)
    numbers, shown = table.numbers, table.shown
    assert set(numbers.model) == {"fc", "memory_wrap"}
    monkeypatch.setattr(reliability, "MOST_PANELS", 2)
    drawn = reliability.draw_reliability(memory_plan)  # of the largest size, in the first mode: the rivals have none
    assert [axis.get_title() for axis in drawn.axes if axis.get_title()] == ["fc  linear", "memory_wrap  cached"]
    best = numbers.groupby("size").accuracy.idxmax()
    for size, column in (("100", "100 images"), ("200", "200 images")):
        bold = [text for text in shown[column] if text.startswith("**")]
        assert f"**{numbers.accuracy[best[size]] * 100:.2f}**" in bold
    assert rf"\textbf{{{numbers.accuracy[best['100']] * 100:.2f}}}" in as_latex(shown, table.caption, "tab:size")


def test_a_bundle_has_what_its_tables_need(memory_plan: Plan, tmp_path: Path) -> None:
    bundle(memory_plan, tmp_path / "study.zip")
    elsewhere = unbundle(tmp_path / "study.zip", tmp_path / "elsewhere")
    remarks = rebuild(elsewhere)
    assert not [remark for remark in remarks if remark.startswith("table")]
    assert (elsewhere.folder / "tables" / "counterfactuals.csv").exists()
    reliability = pd.read_csv(elsewhere.folder / "tables" / "reliability.csv")
    counts = reliability.groupby(["model", "size", "mode"]).n.sum()
    assert set(counts.round(6)) == {500}  # five memories a query are no more queries
    next(elsewhere.analyses()).output.unlink()
    with pytest.raises(LookalikeError, match=r"counterfactuals@test.parquet is missing; run the stage that writes it"):
        tables_of(elsewhere)["counterfactuals"].draw(elsewhere)


def test_settings_of_explanations_leave_predictions_alone(memory_plan: Plan, tmp_path: Path) -> None:
    run = memory_plan.run("digits/memory_wrap/100/seed0")
    stages = ("train", "embed", "evaluate", "explain", "analyse")

    def fingerprints(plan: Plan) -> list[str]:
        counterfactuals = plan.analysis_of(run, "counterfactuals")
        items = {"analyse": Item(run, analysis=counterfactuals, evaluation_set="test")}
        return [fingerprint(plan, stage, items.get(stage, Item(run, evaluation_set="test"))) for stage in stages]

    before = fingerprints(memory_plan)

    def changed(**inference: object) -> list[bool]:
        other = make_plan(tiny_study(models=memory_models(**inference), train_sizes=[100, 200]), tmp_path)
        return [old != new for old, new in zip(before, fingerprints(other), strict=True)]

    assert changed(attribution=None) == [False, False, False, True, False]
    assert changed(counterfactuals={"queries": 3, "epochs": 4, "iterations": 1}) == [False, False, False, False, True]
    assert changed(draws=3) == [False, True, True, True, True]
    with pytest.raises(LookalikeError, match=r"digits/fc/100/seed0 has no analysis 'counterfactuals'; method fc has"):
        run_stage(
            memory_plan,
            "analyse",
            memory_plan.run("digits/fc/100/seed0"),
            evaluation_set="test",
            analysis="counterfactuals",
        )
    without = make_plan(tiny_study(models=memory_models(counterfactuals=None)), tmp_path)
    with pytest.raises(
        LookalikeError, match=r"digits/memory_wrap/100/seed0 asks for no counterfactuals; write\n  models"
    ):
        run_stage(without, "analyse", run, evaluation_set="test", analysis="counterfactuals")


def test_score_of_one_counterfactual_by_hand(memory_plan: Plan) -> None:
    """The memory image's scores again, from autoencoders trained here on the run's subset."""
    run = memory_plan.run("digits/memory_wrap/100/seed0")
    scores = pd.read_parquet(next(memory_plan.analyses_of(run)).output)
    row = scores[(scores.source == "memory") & scores.found].iloc[0]
    inside = opened(memory_plan, run)
    data, model, queries = inside.data, inside.classifier_with_support(), inside.queries("test", inside.data)
    record = model.explain(queries.rows(queries.ids == int(row.id)), "cached")[0]
    assert record.counterfactual.predicted == row.counterfactual
    training = inside.training_images(torch.device("cpu"))
    full, of_class = _autoencoders(training, data.n_classes, 1, inside.seeds.of_subset("autoencoders"))
    image = open_images(data, np.array([record.counterfactual.id])).load(torch.tensor([0]))
    new, old = (of_class[int(label)](image) for label in (row.counterfactual, row.predicted))
    assert row.im1 == pytest.approx(float((image - new).norm() / (image - old).norm()), rel=1e-4)
    assert row.im2 == pytest.approx(float((new - full(image)).norm() / image.norm()), rel=1e-4)
