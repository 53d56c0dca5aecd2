"""The real Snakemake on a tiny study: what runs, what runs again, and what does not."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest
from checkout import STUDY, TRAINING, Checkout
from PIL import Image


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    made = Checkout(tmp_path_factory.mktemp("checkout"))
    made.write(STUDY)
    return made


def count(rules: list[str]) -> dict[str, int]:
    return {name: rules.count(name) for name in ("prepare_data", "train", "evaluate", "explain")}


def support(rules: list[str]) -> int:
    return sum(name.startswith("precompute") for name in rules)


def test_story(checkout: Checkout) -> None:
    """One study's life. A single test, since each step stands on the one before."""
    results = checkout.folder / "results"

    # From nothing to everything.
    rules = checkout.run()
    assert count(rules) == {"prepare_data": 1, "train": 2, "evaluate": 4, "explain": 2}
    assert support(rules) == 3
    for name in ("accuracy", "calibration", "per_class", "comparison"):
        for suffix in ("csv", "tex", "md"):
            assert (results / "tiny" / "tables" / f"{name}.{suffix}").stat().st_size > 50
    for name in ("accuracy", "reliability", "learning_curves", "weights-digits-nw-60-full-test"):
        for suffix in ("svg", "pdf", "png"):
            assert (results / "tiny" / "figures" / f"{name}.{suffix}").stat().st_size > 1000
    report = (results / "tiny" / "report.html").read_text()
    assert report.count("<svg") == 6
    assert "http://" not in re.sub(r'(xmlns(:\w+)?|rdf:\w+|about|content)="[^"]*"|<(cc|dc|rdf):.*?>', "", report)
    with open(results / "tiny" / "tables" / "accuracy.csv") as handle:
        table = {(row["model"], row["mode"]): row for row in csv.DictReader(handle)}
    assert set(table) == {("fc", "linear"), ("nw", "full"), ("nw", "cluster"), ("knn", "vote")}
    assert (results / "tracking" / "mlflow.db").exists()

    # Again: nothing.
    assert checkout.run() == []

    # A deleted figure: drawn again, without training; the bytes are the same.
    figure = results / "tiny" / "figures" / "reliability.svg"
    before = figure.read_bytes()
    figure.unlink()
    rules = checkout.run()
    assert "figure_reliability" in rules
    assert count(rules) == {"prepare_data": 0, "train": 0, "evaluate": 0, "explain": 0}
    assert figure.read_bytes() == before

    # Another study on the same data leaves this one alone.
    checkout.write({**STUDY, "name": "other", "seeds": [5]})
    assert checkout.run("data") == []
    checkout.write(STUDY)
    assert checkout.run() == []

    # Damaged data, repaired as the message says: prepared again, nothing else.
    (results / "data" / "digits" / "manifest.json").unlink()
    assert checkout.run("data") == ["prepare_data", "data"]
    assert checkout.run() == []

    # Another seed of the whole study: everything but the data is due.
    checkout.write({**STUDY, "seed": 7})
    assert re.search(r"^train +2$", checkout.snakemake("-n").stdout, re.MULTILINE)
    checkout.write(STUDY)

    # A comment in a rule, a comment in a method: nothing.
    checkout.edit("workflow/rules/train.smk", "rule train:", "# a comment\nrule train:")
    checkout.edit("src/lookalike/methods/fc.py", "class Model", "# a comment\nclass Model")
    assert checkout.run() == []

    # Inference settings of one model: no training.
    study = {**STUDY, "models": {**STUDY["models"], "nw": {**STUDY["models"]["nw"], "inference": {"n_clusters": 2}}}}
    checkout.write(study)
    rules = checkout.run()
    assert count(rules) == {"prepare_data": 0, "train": 0, "evaluate": 2, "explain": 1}

    # Training settings of one model: that model alone.
    nw = {**study["models"]["nw"], "temperature": 2.0}
    study = {**study, "models": {**study["models"], "nw": nw}}
    checkout.write(study)
    rules = checkout.run()
    assert count(rules) == {"prepare_data": 0, "train": 1, "evaluate": 2, "explain": 1}

    # Code of one method: that method alone; fc feeds knn, knn feeds nothing.
    checkout.edit(
        "src/lookalike/methods/knn.py", "return counts / labels.shape[1]", "return counts / int(labels.shape[1])"
    )
    rules = checkout.run()
    assert count(rules) == {"prepare_data": 0, "train": 0, "evaluate": 1, "explain": 1}
    checkout.edit("src/lookalike/methods/fc.py", "self.linear(features).float()", "self.linear(features.float())")
    rules = checkout.run()
    assert count(rules)["train"] == 1

    # A new seed: only its runs.
    checkout.write({**study, "seeds": [0, 1]})
    rules = checkout.run()
    assert count(rules) == {"prepare_data": 0, "train": 2, "evaluate": 4, "explain": 0}


def test_published_numbers(checkout: Checkout) -> None:
    """Released responses are analysed once; a changed row compares anew; a wrong one stops before anything runs."""
    responses = {
        key: f"workflow/resources/human_study/{name}_cub.csv.gz"
        for key, name in {"sessions": "sessions", "trials": "trials", "queries": "queries"}.items()
    }
    responses["classifier_outputs"] = "workflow/resources/human_study/classifier_outputs_cub.csv.gz"
    entry = {**responses, "exclude": [{"measure": "accuracy", "at_most": 0.5}], "tuning_images": 1000}
    study = {**STUDY, "name": "people", "models": {"fc": STUDY["models"]["fc"]}}
    study |= {"human_studies": {"cub": entry}, "published": ["human_study"]}
    checkout.write(study)
    rules = checkout.run()
    assert rules.count("analyse_responses") == 1
    assert rules.count("table_released") == 8
    assert rules.count("figure_released") == 5
    assert {"compare", "figure_published", "write_report"} <= set(rules)
    folder = checkout.folder / "results" / "people"
    with open(folder / "tables" / "published.csv") as handle:
        rows = list(csv.DictReader(handle))
    verdicts = {row["verdict"] for row in rows if row["made_by"]}
    assert verdicts == {"match"}
    assert {row["verdict"] for row in rows if not row["made_by"] and row["mark"] != "unreadable"} == {
        "cannot be run here"
    }
    report = (folder / "report.html").read_text()
    assert report.index("Published against reproduced") < report.index("<table>")
    assert 'href="human_study/cub.json"' in report
    assert checkout.run() == []

    checkout.edit(
        "workflow/published/human_study.csv", "human_accuracy_cub,kNN,mean,64.75", "human_accuracy_cub,kNN,mean,64.85"
    )
    rules = checkout.run()
    assert sorted(rules) == ["all", "compare", "figure_published", "sync_tracking", "write_report"]
    with open(folder / "tables" / "published.csv") as handle:
        (wrong,) = [row for row in csv.DictReader(handle) if row["verdict"] == "differs"]
    assert (wrong["row"], wrong["published"]) == ("kNN", "64.85")

    checkout.edit(
        "workflow/published/human_study.csv", "human_accuracy_cub,kNN,mean,64.85", "human_accuracy_cub,kNN,mean,high"
    )
    done = checkout.snakemake("-n")
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert re.search(r"human_study.csv, line \d+: value is 'high', which is no number", said)
    assert "Traceback" not in said
    checkout.edit(
        "workflow/published/human_study.csv", "human_accuracy_cub,kNN,mean,high", "human_accuracy_cub,kNN,mean,64.75"
    )

    # A rule for sessions: analysed anew, with all that hangs on it, and no training.
    entry["exclude"] = [{"measure": "accuracy", "at_most": 0.55}]
    checkout.write(study)
    rules = checkout.run()
    assert rules.count("analyse_responses") == 1
    assert "train" not in rules
    missing = {**study, "human_studies": {"cub": {**entry, "trials": "gone.csv"}}}
    checkout.write(missing)
    done = checkout.snakemake()
    assert done.returncode != 0
    assert "error: gone.csv is missing; put it there, or change human_studies.cub.trials." in done.stdout + done.stderr
    checkout.write(STUDY)


def test_lint_report_and_graph(checkout: Checkout) -> None:
    done = checkout.snakemake("--lint")
    lint = done.stdout + done.stderr
    findings = set(re.findall(r"\* (.+?):\n", lint))
    assert findings == {"Specify a conda environment or container for each rule."}, lint  # docs say why there is none
    graph = checkout.snakemake("--rulegraph", "mermaid-js")
    assert graph.returncode == 0
    assert "train" in graph.stdout
    report = checkout.snakemake("--report", "snakemake-report.html")
    assert report.returncode == 0, report.stderr
    assert (checkout.folder / "snakemake-report.html").stat().st_size > 100_000


def test_mistake_stops_before_the_dag(checkout: Checkout) -> None:
    wrong = {**STUDY, "models": {"nw": {"method": "nw", "kernel": "cosin"}}}
    checkout.write(wrong)
    done = checkout.snakemake("-n")
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert "error: study.yaml: models.nw.kernel is 'cosin'" in said
    assert "kernel: cosine" in said
    assert "Traceback" not in said
    assert "File" not in said
    assert "Building DAG" not in said
    checkout.write(STUDY)


def test_a_failing_run_leaves_the_others_finished(checkout: Checkout) -> None:
    """NaN by construction: the other runs finish, the message names run, reason and log."""
    bad = {"method": "fc", "training": {**TRAINING, "lr": 1e30, "momentum": 0.0}}
    checkout.write({**STUDY, "name": "failing", "models": {**STUDY["models"], "bad": bad}})
    done = checkout.snakemake()
    assert done.returncode != 0
    assert re.search(r"error: train digits/bad/60/seed0: the loss of .* is not finite at step \d+", done.stderr)
    folder = checkout.folder / "results" / "failing" / "digits"
    assert (folder / "nw/60/seed0/eval/full@test/predictions.parquet").exists()
    assert not (folder / "bad/60/seed0/model.safetensors").exists()
    checkout.write(STUDY)


def test_a_failing_run_in_a_pack_costs_its_neighbours_nothing(checkout: Checkout) -> None:
    """Its pack fails and is named; what the others made stays, and is not made again when the bad run is mended."""
    bad = {"method": "fc", "training": {**TRAINING, "lr": 1e30, "momentum": 0.0}}
    knn = {**STUDY["models"]["knn"], "backbone_from": "bad"}
    study = {**STUDY, "name": "packed", "seeds": [0, 1], "runs_per_job": 4, "models": {"fc": STUDY["models"]["fc"]}}
    checkout.write({**study, "models": {**study["models"], "bad": bad, "knn": knn}})
    done = checkout.snakemake()
    assert done.returncode != 0
    for seed in (0, 1):
        assert re.search(
            rf"^failed: train digits/bad/60/seed{seed}: the loss of .* is not finite at step .*"
            rf"\(log: results/packed/digits/bad/60/seed{seed}/logs/train.log\)$",
            done.stderr,
            re.MULTILINE,
        )
    results = checkout.folder / "results" / "packed"
    assert [path.name for path in (results / "packs").iterdir()] == ["digits-fc-60-0.json"]
    assert (results / "digits/fc/60/seed1/eval/linear@test/predictions.parquet").exists()
    first = (results / "digits/fc/60/seed0/run.json").read_bytes()
    good = {**study["models"], "bad": {**bad, "training": TRAINING}, "knn": knn}
    checkout.write({**study, "models": good})
    rules = checkout.run()
    assert rules.count("run_pack") == 1
    assert (results / "digits/fc/60/seed0/run.json").read_bytes() == first
    assert checkout.run() == []
    # The tables are those of a study that is not packed.
    packed = (results / "tables" / "accuracy.csv").read_bytes()
    checkout.write({**study, "models": good, "runs_per_job": None})
    assert checkout.run("tables").count("train") == 0  # the same files, made by the same jobs
    assert (results / "tables" / "accuracy.csv").read_bytes() == packed
    checkout.write(STUDY)


def test_plan_says_what_is_due_and_why(checkout: Checkout) -> None:
    checkout.write({**STUDY, "name": "planned"})
    done = checkout.snakemake("plan")
    assert re.search(r"train +2 +0 +2 +\d+ s +not made yet", done.stdout), done.stdout + done.stderr
    checkout.run("tables")
    models = {**checkout.study["models"], "fc": {"method": "fc", "training": {**TRAINING, "lr": 0.05}}}
    checkout.write({**checkout.study, "models": models})
    done = checkout.snakemake("plan")
    assert done.returncode == 0, done.stderr
    assert re.search(r"train +2 +1 +1 .* settings or code changed", done.stdout), done.stdout
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
        said = stopped.stdout + stopped.stderr
        assert "error: data set cub200 has terms to accept" in said
        assert "error: data set mine: path /nowhere is missing" in said
        assert "error: weights file weights/none.pth is missing; put it there, or change models.fc.backbone" in said
        assert "Traceback" not in said
        assert "Finished jobid" not in said
    checkout.write(STUDY)


def test_own_images_corruptions_patch_and_options(checkout: Checkout) -> None:
    """Photographs and drawn creatures through every stage, on changed evaluation sets; nothing is due afterwards."""
    make_own_images(checkout.folder / "mine")
    datasets = {
        "mine": {"source": "image_folder", "path": "mine", "size": 24, "resize": 28, "held_out": 4},
        "biased": {
            "source": "critters",
            "size": 16,
            "train": 40,
            "test": 20,
            "classes": 4,
            "scene_rate": 0.9,
            "held_out": 4,
        },
    }
    training = {**TRAINING, "resized_crop": [0.3, 1.0], "flip": True}
    study = {
        **STUDY,
        "name": "made",
        "datasets": datasets,
        "sizes": ["all"],
        "evaluation_sets": ["test", "validation", "test-gaussian_blur-5", "test-patch"],
        "patch": {"model": "fc", "target": 1, "area": 0.1, "images": 3, "epochs": 1, "iterations": 2},
        "models": {
            "fc": {"method": "fc", "training": training},
            "knn": {"method": "knn", "backbone_from": "fc", "inference": {"voters": 3}},
        },
    }
    checkout.write(study)
    rules = checkout.run()
    assert count(rules) == {"prepare_data": 2, "train": 2, "evaluate": 16, "explain": 4}
    assert rules.count("make_patch") == 2  # one a data set, which both models' queries carry
    assert rules.count("embed_queries") == 8  # two changed sets of four runs
    folder = checkout.folder / "results" / "made"
    assert (folder / "figures/weights-mine-knn-all-vote-test.png").stat().st_size > 1000
    with open(folder / "tables" / "accuracy.csv") as handle:
        sets = {(row["dataset"], row["evaluation_set"]) for row in csv.DictReader(handle)}
    assert sets == {(name, split) for name in datasets for split in study["evaluation_sets"]}
    assert checkout.run() == []
    # Another data set's images for the models of one: nothing but these queries is embedded.
    others = {"source": "critters", "size": 16, "test": 10, "train": 4, "classes": 4, "seed": 1}
    checkout.write({**study, "datasets": {**datasets, "moved": {**others, "queries_for": "biased"}}})
    rules = checkout.run("tables")
    assert count(rules) == {"prepare_data": 1, "train": 0, "evaluate": 2, "explain": 0}
    assert (support(rules), rules.count("embed_queries")) == (0, 2)
    with open(folder / "tables" / "accuracy.csv") as handle:
        assert {row["dataset"] for row in csv.DictReader(handle) if row["evaluation_set"] == "moved"} == {"biased"}
    # How a set is read changes its runs; what is on disk stays.
    datasets = {**datasets, "mine": {**datasets["mine"], "fit": "squash"}}
    checkout.write({**study, "datasets": datasets})
    rules = checkout.run("tables")
    assert (rules.count("prepare_data"), rules.count("train"), rules.count("evaluate")) == (0, 1, 8)
    # An image of the user's that changes is noticed.
    image = checkout.folder / "mine/train/red/0.png"
    Image.open(image).rotate(180).save(image)
    rules = checkout.run("tables")
    assert (rules.count("prepare_data"), rules.count("train"), rules.count("evaluate")) == (1, 1, 8)
    assert checkout.run("tables") == []
    checkout.write(STUDY)


def test_patches_are_compared_where_queries_are_embedded(checkout: Checkout) -> None:
    """EMD-Corr and CHM-Corr from training to drawings: who changes the vote compares again and trains nothing."""
    ranking = {"shortlist": 9, "voters": 4, "correspondences": {"queries": 3}}
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
    study = {**STUDY, "name": "ranked", "datasets": {"critters": critters}, "sizes": ["all"], "models": models}
    checkout.write(study)
    rules = checkout.run()
    assert count(rules) == {"prepare_data": 1, "train": 2, "evaluate": 3, "explain": 2}
    assert (support(rules), rules.count("score_correspondences")) == (3, 2)
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
        ({"correspondences": {"queries": 4}}, {"precompute": 0, "evaluate": 0, "score": 1}),
        ({"voters": 3}, {"precompute": 0, "evaluate": 1, "score": 1}),
        ({"voters": 3, "shortlist": 10}, {"precompute": 1, "evaluate": 1, "score": 1}),
    ):
        chm = {**models["chm_corr"], "inference": {**ranking, **changed}}
        checkout.write({**study, "models": {**models, "chm_corr": chm}})
        rules = checkout.run("tables")
        assert rules.count("train") == 0
        assert support(rules) == due["precompute"]
        assert count(rules)["evaluate"] == due["evaluate"]
        assert rules.count("score_correspondences") == due["score"]
    assert gallery.stat().st_mtime_ns == before
    checkout.write(study)
    assert checkout.run("tables").count("train") == 0
    table = (folder / "tables" / "correspondences.csv").read_bytes()
    checkout.write({**study, "name": "ranked_packs", "runs_per_job": 3})
    assert checkout.run("tables").count("run_pack") == 1
    assert (checkout.folder / "results/ranked_packs/tables/correspondences.csv").read_bytes() == table
    checkout.write(STUDY)


def make_own_images(folder: Path) -> None:
    """Pictures of two colours and several sizes."""
    random = np.random.RandomState(0)
    for split, images in (("train", 12), ("test", 5)):
        for label, name in enumerate(("red", "blue")):
            (folder / split / name).mkdir(parents=True)
            for number in range(images):
                pixels = random.randint(0, 80, (30 + number, 40 - number, 3)).astype(np.uint8)
                pixels[..., 2 * label] += 150
                Image.fromarray(pixels).save(folder / split / name / f"{number}.png")


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
    creatures = {"source": "critters", "size": 16, "train": 4, "test": 8, "classes": 4, "outliers_for": "digits"}
    study = {**STUDY, "name": "flows", "models": models, "datasets": {"digits": {}, "creatures": creatures}}
    checkout.write(study)
    rules = checkout.run()
    assert tuple(map(rules.count, ("train", "evaluate", "explain"))) == (2, 4, 1)
    assert (support(rules), rules.count("embed_queries"), rules.count("show_prototypes")) == (2, 2, 1)
    folder = checkout.folder / "results" / "flows"
    for kind in ("looks_like", "prototypes", "between"):
        assert (folder / f"figures/{kind}-digits-protoflow-60-posterior-test.png").stat().st_size > 1000
    with open(folder / "tables" / "outliers.csv") as handle:
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
        names = ("train", "precompute_support", "embed_queries", "evaluate", "show_prototypes")
        assert tuple(map(rules.count, names)) == due, changed
    table = (folder / "tables" / "outliers.csv").read_bytes()
    checkout.write({**study, "name": "flow_packs", "runs_per_job": 2})
    assert checkout.run("tables").count("run_pack") == 1
    assert (checkout.folder / "results/flow_packs/tables/outliers.csv").read_bytes() == table
    checkout.write(STUDY)
