"""What a user sees: plans, mistakes, missing data."""

import re

from helpers.checkout import STUDY, TRAINING, Checkout


def test_mistake_stops_before_the_dag(checkout: Checkout) -> None:
    wrong = {**STUDY, "models": {"nw": {"method": "nw", "kernel": "cosin"}}}
    checkout.write(wrong)
    done = checkout.snakemake("-n")
    assert done.returncode != 0
    output = done.stdout + done.stderr
    assert "error: study.yaml: models.nw.kernel is 'cosin'" in output
    assert "kernel: cosine" in output
    assert "Traceback" not in output
    assert "File" not in output
    assert "Building DAG" not in output
    checkout.write(STUDY)


def test_plan_says_what_is_due_and_why(checkout: Checkout) -> None:
    checkout.write({**STUDY, "name": "planned"})
    done = checkout.snakemake("plan")
    assert re.search(r"train +2 +0 +2 .*not there yet", done.stdout), done.stdout + done.stderr
    checkout.run("tables")
    models = {**checkout.study["models"], "fc": {"method": "fc", "training": {**TRAINING, "lr": 0.05}}}
    checkout.write({**checkout.study, "models": models})
    done = checkout.snakemake("plan")
    assert done.returncode == 0, done.stderr
    assert re.search(r"train +2 +1 +1 +\d+ s +settings or code changed", done.stdout), done.stdout
    assert "data: all is here" in done.stdout
    assert re.search(r"time: about \d+ s on \d+ cores", done.stdout)


def test_data_that_a_person_must_fetch_stops_before_the_first_job(checkout: Checkout) -> None:
    """Terms, files by hand, a path that is missing: the plan says it, a run stops at once, a dry run does not."""
    datasets = {
        "digits": None,
        "birds": {"source": "cub200", "split": "swapped"},
        "imagenet": {"queries": "published_clean"},
        "mine": {"source": "image_folder", "path": "/nowhere"},
    }
    fc = {**STUDY["models"]["fc"], "backbone": {"name": "resnet18", "weights": "weights/none.pth"}}
    checkout.write({**STUDY, "name": "lacking", "datasets": datasets, "models": {"fc": fc}})
    planned = checkout.snakemake("plan")
    assert planned.returncode == 0, planned.stderr
    text = " ".join(planned.stdout.split())
    assert "data to fetch: cub200, 1,150.6 MB, non-commercial research" in text
    assert "`lookalike data fetch cub200 --accept-licence`" in text
    assert "data set imagenet must be fetched by hand: register on https://image-net.org" in text
    assert "Put ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar, ILSVRC2012_devkit_t12.tar.gz into" in text
    assert "data set mine: path /nowhere is missing" in text
    assert checkout.snakemake("-n").returncode == 0
    for _ in range(2):  # a run that stopped holds no lock
        stopped = checkout.snakemake()
        assert stopped.returncode != 0
        output = stopped.stdout + stopped.stderr
        assert "error: data set cub200 has terms to accept" in output
        assert "error: data set mine: path /nowhere is missing" in output
        assert "error: weights file weights/none.pth is missing; put it there, or change models.fc.backbone" in output
        assert "Traceback" not in output
        assert "Finished jobid" not in output
    checkout.write(STUDY)
