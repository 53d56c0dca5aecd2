"""Images of no known class: seen as the models of a data set would see them, and scored against its own."""

import math

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from helpers.flows import protoflow_entry
from helpers.studies import changed_plan, opened, run_stage
from PIL import Image

from lookalike.data.images import open_images
from lookalike.data.prepare import prepare_data
from lookalike.data.settings import settings_class
from lookalike.study.plan import Plan


def test_no_image_of_a_known_class(tiny: Plan) -> None:
    """Creatures as digits would be seen: grey, small, in whole levels; scores recomputed pair by pair."""
    creatures = {"source": "critters", "size": 16, "train": 4, "test": 12, "classes": 2, "ood_for": "digits"}
    models = {
        "protoflow": protoflow_entry(),
        "fc": {"method": "fc", "training": {"epochs": 1, "batch_size": 50}},
    }
    datasets = {"digits": {}, "creatures": {**creatures, "train_sizes": [100]}}
    plan = changed_plan(tiny, train_sizes=[50, 100], datasets=datasets, models=models)
    prepare_data(plan.datasets["creatures"], plan.data_folder("creatures"))
    assert [(e.run.id, e.evaluation_set) for e in plan.ood_evaluations()] == [
        (f"digits/{model}/100/seed0", "creatures") for model in ("protoflow", "fc")
    ]
    assert "creatures" not in {e.evaluation_set for e in plan.evaluations()}
    for run in plan.runs():
        run_stage(plan, "train", run)
        run_stage(plan, "embed", run)
        for mode in plan.models[run.model].modes:
            run_stage(plan, "evaluate", run, mode, "test")
    for evaluation in plan.ood_evaluations():
        run_stage(plan, "embed_queries", evaluation.run, evaluation_set="creatures")
        run_stage(plan, "evaluate", evaluation.run, evaluation.mode, "creatures")
    run = plan.run("digits/protoflow/100/seed0")
    asked = opened(plan, run).data_of("creatures")
    seen = open_images(asked, asked.rows("test")).load(torch.arange(2))
    assert seen.shape == (2, 1, 8, 8)
    assert torch.equal(seen, seen.round())
    picture = Image.fromarray(np.moveaxis(np.asarray(asked.images[asked.rows("test")[0]]), 0, -1)).convert("L")
    small = np.asarray(picture.resize((8, 8), Image.Resampling.BILINEAR), np.float32)
    assert np.abs(seen[0, 0].numpy() - small).max() <= 1.5
    run_stage(plan, "collect_metrics")
    scores = pd.read_csv(plan.folder / "tables" / "ood_metrics.csv").set_index(["model", "score"])
    assert set(scores.loc["fc"].index) == {"confidence", "entropy"}
    inside, outside = (pq.read_table(run.predictions("posterior", s)).to_pandas() for s in ("test", "creatures"))
    assert set(outside.label) == {-1}
    assert "log_prob" not in outside
    wins = [(a > b) + 0.5 * (a == b) for a in inside.log_density for b in outside.log_density]
    assert scores.loc[("protoflow", "log_density"), "auroc"] == pytest.approx(np.mean(wins))
    edge = np.sort(inside.log_density)[math.floor(0.05 * (len(inside) - 1))]
    assert scores.loc[("protoflow", "log_density"), "fpr95"] == pytest.approx((outside.log_density >= edge).mean())
    train_density = opened(plan, run).classifier_with_support().typical.item()
    assert outside.typicality.to_numpy() == pytest.approx(-np.abs(outside.log_density - train_density), rel=1e-3)


def test_the_role_of_other_images_is_part_of_what_they_give() -> None:
    critters = settings_class("critters")
    settings = [
        critters.model_validate({"source": "critters", role: "digits"}) for role in ("evaluated_with", "ood_for")
    ]
    assert settings[0].prepared == settings[1].prepared
    assert settings[0].choosing() != settings[1].choosing()
