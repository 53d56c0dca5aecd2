"""EMD-Corr and CHM-Corr from training to drawings."""

import csv

import pytest
from helpers.checkout import STUDY, TRAINING, Checkout, count, embedded


@pytest.mark.long
def test_patches_are_compared_where_queries_are_embedded(checkout: Checkout) -> None:
    """EMD-Corr and CHM-Corr from training to drawings: who changes the vote compares again and trains nothing."""
    ranking = {"n_candidates": 9, "k": 4, "correspondences": {"queries": 3}}
    models = {
        "fc": STUDY["models"]["fc"],
        "emd_corr": {"method": "emd_corr", "backbone_from": "fc", "inference": ranking},
        "chm_corr": {
            "method": "chm_corr",
            "backbone_from": "fc",
            "training": {**TRAINING, "epochs": 1, "optimizer": "adam", "lr": 0.01},
            "inference": ranking,
        },
    }
    critters = {"source": "critters", "size": 32, "train": 40, "test": 16, "classes": 4}
    study = {**STUDY, "name": "ranked", "datasets": {"critters": critters}, "train_sizes": ["all"], "models": models}
    checkout.write(study)
    rules = checkout.run()
    assert count(rules) == {"prepare_data": 1, "train": 2, "evaluate": 3, "explain": 2}
    assert (embedded(rules), rules.count("analyse")) == (3, 2)
    folder = checkout.folder / "results" / "ranked"
    with open(folder / "tables" / "correspondences.csv") as handle:
        assert {row["model"] for row in csv.DictReader(handle)} == {
            f"{model}{by}" for model in ("emd_corr", "chm_corr") for by in ("", ": nearest", ": cosine", ": random")
        }
    for model in ("emd_corr", "chm_corr"):
        for kind in ("correspondences", "flow"):
            assert (folder / f"figures/{kind}-critters-{model}-all-vote-test.png").stat().st_size > 1000
    assert checkout.run() == []

    # More queries are scored, other images vote: nothing is compared anew. Another shortlist is, and the prepared
    # training images stay.
    gallery = folder / "critters/chm_corr/all/seed0/support/gallery.safetensors"
    before = gallery.stat().st_mtime_ns
    for changed, due in (
        ({"correspondences": {"queries": 4}}, {"embed": 0, "evaluate": 0, "analyse": 1}),
        ({"k": 3}, {"embed": 0, "evaluate": 1, "analyse": 1}),
        ({"k": 3, "n_candidates": 10}, {"embed": 1, "evaluate": 1, "analyse": 1}),
    ):
        chm = {**models["chm_corr"], "inference": {**ranking, **changed}}
        checkout.write({**study, "models": {**models, "chm_corr": chm}})
        rules = checkout.run("tables")
        assert rules.count("train") == 0
        assert embedded(rules) == due["embed"]
        assert count(rules)["evaluate"] == due["evaluate"]
        assert rules.count("analyse") == due["analyse"]
    assert gallery.stat().st_mtime_ns == before
    checkout.write(STUDY)
