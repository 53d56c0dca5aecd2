"""A run that fails costs its neighbours nothing."""

import re

import pytest
from helpers.checkout import STUDY, TRAINING, Checkout


def test_a_failing_run_leaves_the_others_finished(checkout: Checkout) -> None:
    """NaN by construction: the other runs finish, the message names run, reason and log."""
    bad = {"method": "fc", "training": {**TRAINING, "lr": 1e30, "momentum": 0.0}}
    checkout.write({**STUDY, "name": "failing", "models": {**STUDY["models"], "bad": bad}})
    done = checkout.snakemake("tables")
    assert done.returncode != 0
    assert re.search(r"error: train digits/bad/60/seed0: the loss of .* is not finite at step \d+", done.stderr)
    folder = checkout.folder / "results" / "failing" / "digits"
    assert (folder / "nw/60/seed0/eval/full@test/predictions.parquet").exists()
    assert not (folder / "bad/60/seed0/model.safetensors").exists()
    checkout.write(STUDY)


@pytest.mark.long
def test_a_failing_run_in_a_job_group_costs_its_neighbours_nothing(checkout: Checkout) -> None:
    """Its group fails and is named; what the others made stays, and is not made again when the bad run is mended."""
    bad = {"method": "fc", "training": {**TRAINING, "lr": 1e30, "momentum": 0.0}}
    knn = {**STUDY["models"]["knn"], "backbone_from": "bad"}
    study = {**STUDY, "name": "grouped", "seeds": [0, 1], "runs_per_job": 4, "models": {"fc": STUDY["models"]["fc"]}}
    checkout.write({**study, "models": {**study["models"], "bad": bad, "knn": knn}})
    done = checkout.snakemake()
    assert done.returncode != 0
    for seed in (0, 1):
        assert re.search(
            rf"^failed: train digits/bad/60/seed{seed}: the loss of .* is not finite at step .*"
            rf"\(log: results/grouped/digits/bad/60/seed{seed}/logs/train.log\)$",
            done.stderr,
            re.MULTILINE,
        )
    results = checkout.folder / "results" / "grouped"
    assert [path.name for path in (results / "job_groups").iterdir()] == ["digits-fc-60-0.json"]
    assert (results / "digits/fc/60/seed1/eval/linear@test/predictions.parquet").exists()
    first = (results / "digits/fc/60/seed0/run.json").read_bytes()
    good = {**study["models"], "bad": {**bad, "training": TRAINING}, "knn": knn}
    checkout.write({**study, "models": good})
    rules = checkout.run()
    assert rules.count("run_job_group") == 1
    assert (results / "digits/fc/60/seed0/run.json").read_bytes() == first
    assert checkout.run() == []
    # The tables are those of a study that is not grouped.
    grouped = (results / "tables" / "accuracy.csv").read_bytes()
    checkout.write({**study, "models": good, "runs_per_job": None})
    assert checkout.run("tables").count("train") == 0  # the same files, made by the same jobs
    assert (results / "tables" / "accuracy.csv").read_bytes() == grouped
    checkout.write(STUDY)
