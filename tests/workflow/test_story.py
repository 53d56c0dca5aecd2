"""One study's life under the real Snakemake: what runs, what runs again, and what does not."""

import csv
import re

from helpers.checkout import STUDY, Checkout, count, embedded

RUNS = "results/tiny/digits"
# All but figures, report and tracking: what the steps below count.
COUNTED = (
    "tables",
    f"{RUNS}/nw/60/seed0/explain/full@test.parquet",
    f"{RUNS}/knn/60/seed0/explain/vote@test.parquet",
)


def due(checkout: Checkout) -> dict[str, int]:
    """How many trainings and evaluations a dry run tells of."""
    return {rule: int(n) for rule, n in re.findall(r"^(train|evaluate) +(\d+)$", checkout.snakemake("-n").stdout, re.M)}


def test_story(checkout: Checkout) -> None:
    """One study's life. A single test, since each step stands on the one before."""
    results = checkout.folder / "results"

    # From nothing to everything.
    rules = checkout.run()
    assert count(rules) == {"prepare_data": 1, "train": 2, "evaluate": 4, "explain": 2}
    assert embedded(rules) == 3
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

    lint_graph_and_report(checkout)

    # A deleted figure: drawn again, without training; the bytes are the same.
    figure = results / "tiny" / "figures" / "reliability.svg"
    before = figure.read_bytes()
    figure.unlink()
    rules = checkout.run()
    assert rules.count("draw_figure") == 1
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
    assert due(checkout) == {"train": 2, "evaluate": 4}
    checkout.write(STUDY)

    # A comment in a rule, a comment in a method: nothing.
    checkout.edit("workflow/rules/train.smk", "rule train:", "# a comment\nrule train:")
    checkout.edit("src/lookalike/methods/fc/classifier.py", "class FCClassifier", "# a comment\nclass FCClassifier")
    assert checkout.run() == []

    # Inference settings of one model: no training.
    study = {**STUDY, "models": {**STUDY["models"], "nw": {**STUDY["models"]["nw"], "inference": {"n_clusters": 2}}}}
    checkout.write(study)
    rules = checkout.run(*COUNTED)
    assert count(rules) == {"prepare_data": 0, "train": 0, "evaluate": 2, "explain": 1}

    # Training settings of one model: that model alone.
    nw = {**study["models"]["nw"], "temperature": 2.0}
    study = {**study, "models": {**study["models"], "nw": nw}}
    checkout.write(study)
    rules = checkout.run(*COUNTED)
    assert count(rules) == {"prepare_data": 0, "train": 1, "evaluate": 2, "explain": 1}

    # A new seed: only its runs.
    checkout.write({**study, "seeds": [0, 1]})
    assert due(checkout) == {"train": 2, "evaluate": 4}
    checkout.write(study)

    # Code of one method: that method alone; fc feeds knn, knn feeds nothing.
    checkout.edit(
        "src/lookalike/methods/knn/classifier.py",
        "return counts / labels.shape[1]",
        "return counts / int(labels.shape[1])",
    )
    rules = checkout.run(*COUNTED)
    assert count(rules) == {"prepare_data": 0, "train": 0, "evaluate": 1, "explain": 1}
    checkout.edit(
        "src/lookalike/methods/fc/classifier.py", "self.linear(features).float()", "self.linear(features.float())"
    )
    assert due(checkout) == {"train": 1, "evaluate": 2}


def lint_graph_and_report(checkout: Checkout) -> None:
    """What Snakemake itself tells of a finished study."""
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
