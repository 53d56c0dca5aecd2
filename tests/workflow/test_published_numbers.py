"""People's responses and published numbers under the real Snakemake."""

import csv
import re

import pytest
from helpers.checkout import STUDY, Checkout


@pytest.mark.long
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
    assert rules.count("analyse_human_study") == 1
    assert rules.count("draw_table") == 4 + 8
    assert rules.count("draw_figure") == 3 + 5 + 1
    assert {"compare", "write_report"} <= set(rules)
    folder = checkout.folder / "results" / "people"
    with open(folder / "tables" / "published.csv") as handle:
        rows = list(csv.DictReader(handle))
    verdicts = {row["verdict"] for row in rows if row["reproduced_by"]}
    assert verdicts == {"match"}
    assert {row["verdict"] for row in rows if not row["reproduced_by"] and row["mark"] != "unreadable"} == {
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
    assert sorted(rules) == ["all", "compare", "draw_figure", "sync_tracking", "write_report"]
    with open(folder / "tables" / "published.csv") as handle:
        (wrong,) = [row for row in csv.DictReader(handle) if row["verdict"] == "differs"]
    assert (wrong["row"], wrong["published"]) == ("kNN", "64.85")

    checkout.edit(
        "workflow/published/human_study.csv", "human_accuracy_cub,kNN,mean,64.85", "human_accuracy_cub,kNN,mean,high"
    )
    done = checkout.snakemake("-n")
    assert done.returncode != 0
    output = done.stdout + done.stderr
    assert re.search(r"human_study.csv, line \d+: value is 'high', which is no number", output)
    assert "Traceback" not in output
    checkout.edit(
        "workflow/published/human_study.csv", "human_accuracy_cub,kNN,mean,high", "human_accuracy_cub,kNN,mean,64.75"
    )

    # A rule for sessions: analysed anew, with all that hangs on it, and no training.
    entry["exclude"] = [{"measure": "accuracy", "at_most": 0.55}]
    checkout.write(study)
    rules = checkout.run()
    assert rules.count("analyse_human_study") == 1
    assert "train" not in rules
    missing = {**study, "human_studies": {"cub": {**entry, "trials": "gone.csv"}}}
    checkout.write(missing)
    done = checkout.snakemake()
    assert done.returncode != 0
    assert "error: gone.csv is missing; put it there, or change human_studies.cub.trials." in done.stdout + done.stderr
    checkout.write(STUDY)
