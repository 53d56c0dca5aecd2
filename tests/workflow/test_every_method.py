"""All methods in one study under the real Snakemake: predictions, explanations, analyses and figures of each."""

import csv

from helpers.checkout import TRAINING, Checkout

from lookalike.methods.registry import METHODS

QUICK = {**TRAINING, "epochs": 1}
ON_FC = {"backbone_from": "fc"}
RANKING = {"n_candidates": 9, "k": 4, "correspondences": {"queries": 3}}
MEMORY = {"training": QUICK, "memory": {"size": 8}}
COUNTERFACTUALS = {"queries": 2, "epochs": 1, "iterations": 2}
MODELS = {
    "fc": {"training": QUICK},
    "linear_probe": {**ON_FC, "training": QUICK},
    "knn": {**ON_FC, "inference": {"k": 5}},
    "nw": {"training": QUICK, "modes": ["full", "cluster"], "inference": {"n_clusters": 2}},
    "memory_wrap": {**MEMORY, "inference": {"attribution": {"steps": 4}, "counterfactuals": COUNTERFACTUALS}},
    "baseline_memory": {**MEMORY, "inference": {"attribution": None}},
    "matching": MEMORY,
    "protonet": MEMORY,
    "emd_corr": {**ON_FC, "inference": RANKING},
    "chm_corr": {**ON_FC, "training": {**QUICK, "optimizer": "adam", "lr": 0.01}, "inference": RANKING},
    "dense_flow": {"training": {**QUICK, "optimizer": "adamw", "lr": 0.005}},
    "protoflow": {"backbone_from": "dense_flow", "training": {**QUICK, "lr": 0.005}, "prototypes": {"components": 2}},
}
FIGURES = (
    "weights-critters-nw-all-full",
    "memory-critters-memory_wrap-all-cached",
    "attribution-critters-memory_wrap-all-cached",
    "correspondences-critters-chm_corr-all-vote",
    "flow-critters-emd_corr-all-vote",
    "looks_like-critters-protoflow-all-posterior",
)


def test_every_method_from_training_to_figures(checkout: Checkout) -> None:
    study = {
        "version": 2,
        "name": "methods",
        "datasets": {"critters": {"source": "critters", "size": 32, "train": 40, "test": 16, "classes": 4}},
        "train_sizes": ["all"],
        "seeds": [0],
        "explained_queries": 1,
        "models": {name: {"method": name, **settings} for name, settings in MODELS.items()},
    }
    assert set(MODELS) == set(METHODS)
    checkout.write(study)
    figures = [f"results/methods/figures/{name}-test.svg" for name in FIGURES]
    checkout.run("tables", *figures)
    folder = checkout.folder / "results" / "methods"
    with open(folder / "tables" / "accuracy.csv") as handle:
        shown = {row["model"] for row in csv.DictReader(handle)}
    assert shown == set(METHODS) - {"dense_flow"}  # it classifies nothing
    assert (folder / "critters/dense_flow/all/seed0/eval/density@test/predictions.parquet").exists()
    assert all((checkout.folder / figure).stat().st_size > 1000 for figure in figures)
    for table in ("counterfactuals", "correspondences", "explanations", "prototypes"):
        assert (folder / "tables" / f"{table}.csv").stat().st_size > 100, table
    assert checkout.run("tables", *figures) == []
