"""The real Snakemake on a tiny study: what runs, what runs again, and what does not."""

import csv
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
TRAINING = {"epochs": 2, "batch_size": 32, "lr": 0.1}
STUDY = {
    "version": 1,
    "name": "tiny",
    "datasets": ["digits"],
    "sizes": [60],
    "seeds": [0],
    "explained_queries": 2,
    "models": {
        "fc": {"method": "fc", "training": TRAINING},
        "nw": {
            "method": "nw",
            "training": TRAINING,
            "modes": ["full", "cluster"],
            "inference": {"n_neighbors": 5},
        },
        "knn": {"method": "knn", "backbone_from": "fc", "inference": {"voters": 5}},
    },
}


class Checkout:
    """A copy of the project, so that tests may edit its code."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("Snakefile", "config.yaml", "workflow", "profiles", "src", "requirements.lock"):
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, folder / name)
        self.study = STUDY

    def write(self, study: dict) -> None:
        self.study = study
        (self.folder / "study.yaml").write_text(yaml.safe_dump(study, sort_keys=False))

    def snakemake(self, *arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-m", "snakemake", *arguments, "--configfile", "study.yaml"],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(self.folder / "src")},
            capture_output=True,
            text=True,
        )

    def run(self, *arguments: str) -> list[str]:
        """Rules that ran, one entry a job."""
        done = self.snakemake(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return re.findall(r"Finished jobid: \d+ \(Rule: (\w+)\)", done.stderr + done.stdout)

    def edit(self, path: str, old: str, new: str) -> None:
        file = self.folder / path
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))


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
    assert "data to fetch by hand: none" in done.stdout
    assert re.search(r"time: about \d+ s on \d+ cores", done.stdout)
