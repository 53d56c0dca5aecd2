"""A flow, and prototypes on it."""

import csv

import pytest
from helpers.checkout import STUDY, Checkout, embedded


@pytest.mark.long
def test_a_flow_is_trained_once_and_its_prototypes_are_shown(checkout: Checkout) -> None:
    """A flow of its own run, a classifier on it, outliers: each change re-runs what depends on it and nothing else."""
    quick = {"epochs": 1, "batch_size": 30, "optimizer": "adamw", "lr": 0.005}
    models = {
        "flow": {"method": "dense_flow", "training": quick},
        "protoflow": {
            "method": "protoflow",
            "backbone_from": "flow",
            "training": quick,
            "prototypes": {"components": 2},
        },
    }
    creatures = {"source": "critters", "size": 16, "train": 4, "test": 8, "classes": 4, "ood_for": "digits"}
    study = {**STUDY, "name": "flows", "models": models, "datasets": {"digits": {}, "creatures": creatures}}
    checkout.write(study)
    rules = checkout.run()
    assert tuple(map(rules.count, ("train", "evaluate", "explain"))) == (2, 4, 1)
    assert (embedded(rules), rules.count("embed_queries"), rules.count("analyse")) == (2, 2, 1)
    folder = checkout.folder / "results" / "flows"
    for kind in ("looks_like", "prototypes", "between"):
        assert (folder / f"figures/{kind}-digits-protoflow-60-posterior-test.png").stat().st_size > 1000
    with open(folder / "tables" / "ood.csv") as handle:
        scores = {row["score"] for row in csv.DictReader(handle)}
    assert scores == {"confidence", "entropy", "log_density", "typicality"}
    with open(folder / "tables" / "prototypes.csv") as handle:
        assert [float(row["changed_pixels"]) for row in csv.DictReader(handle)] == [0]
    assert checkout.run() == []
    # One change on top of the other.
    on_flow = models["protoflow"]
    for changed, due in (
        ({"datasets": {"digits": {}, "creatures": {**creatures, "seed": 1}}}, (0, 0, 2, 2, 0)),
        ({"models": {**models, "protoflow": {**on_flow, "inference": {"samples": 2}}}}, (0, 1, 1, 2, 1)),
        ({"models": {**models, "protoflow": {**on_flow, "trains": "prototypes"}}}, (1, 1, 1, 2, 1)),
    ):
        study |= changed
        checkout.write(study)
        rules = checkout.run("tables")
        names = ("train", "embed", "embed_queries", "evaluate", "analyse")
        assert tuple(map(rules.count, names)) == due, changed
    table = (folder / "tables" / "ood.csv").read_bytes()
    checkout.write({**study, "name": "flow_groups", "runs_per_job": 2})
    assert checkout.run("tables").count("run_job_group") == 1
    assert (checkout.folder / "results/flow_groups/tables/ood.csv").read_bytes() == table
    checkout.write(STUDY)
