"""The how-to pages, followed in a copy of the project: what is added takes the places they name, and no other."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.checkout import STUDY, TRAINING, Checkout
from helpers.guides import follow

FC, NW = STUDY["models"]["fc"], {**STUDY["models"]["nw"], "modes": ["full"]}
BASE = {**STUDY, "name": "added", "models": {"fc": FC, "nw": NW}}
REGISTRIES = ("methods", "backbones", "data")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A copy whose study is finished but for figures, report and tracking."""
    copy = Checkout(tmp_path_factory.mktemp("checkout"))
    copy.write(BASE)
    copy.run("tables", "results/added/digits/nw/60/seed0/explain/full@test.parquet")
    return copy


def ran(checkout: Checkout, *targets: str) -> dict[str, int]:
    """Rules that ran, and how often."""
    rules = checkout.run(*targets)
    return {rule: rules.count(rule) for rule in dict.fromkeys(rules)}


def rows(path: Path) -> list[dict[str, str]]:
    with open(path) as handle:
        return list(csv.DictReader(handle))


def check(checkout: Checkout) -> None:
    """`make check`'s look at the declarations finds nothing."""
    command = [sys.executable, "-m", "lookalike", "check"]
    environment = {"PYTHONPATH": str(checkout.source), "PATH": ""}
    done = subprocess.run(command, cwd=checkout.folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_table_a_figure_a_metric_and_an_analysis_take_one_place_each(checkout: Checkout) -> None:
    assert follow("table-or-figure.md", checkout) == [
        "src/lookalike/reporting/tables/confusions.py",
        "src/lookalike/reporting/figures/confidence.py",
    ]
    assert follow("metric.md", checkout) == ["src/lookalike/metrics/classification.py"]
    places = follow("analysis.md", checkout)  # its method's room: the function, and declarations in the settings
    assert {str(Path(place).parent) for place in places} == {"src/lookalike/methods/nw"}

    counts = ran(checkout)
    assert {"train", "embed", "embed_frozen", "evaluate", "explain"} & set(counts) == set()
    assert (counts["collect_metrics"], counts["analyse"]) == (1, 1)
    folder = checkout.folder / "results/added"
    assert sum(int(row["queries"]) for row in rows(folder / "tables/confusions.csv")) > 0
    assert (folder / "figures/confidence.svg").stat().st_size > 1000
    report = (folder / "report.html").read_text()
    assert 'id="table-confusions"' in report
    assert "Share of test queries whose confidence is at most so much" in report
    medians = [float(row["median_confidence"]) for row in rows(folder / "tables/metrics.csv")]
    assert all(0 < median <= 1 for median in medians)
    assert "Median confidence (%)" in (folder / "tables/accuracy.md").read_text()
    (row,) = rows(folder / "tables/concentration.csv")
    assert row["model"] == "nw"
    assert 0 < float(row["top_ten"]) <= 1
    assert ran(checkout) == {}
    check(checkout)


def test_a_method_a_backbone_and_a_data_set_take_their_files_and_a_row(checkout: Checkout) -> None:
    """The method with explanations, a drawing of its own, and settings blocks of names that other methods have too."""
    block = """    memory: PrototypeSettings = Field(PrototypeSettings(), description="A block of this name, too.")\n"""
    method = follow("method.md", checkout, (("    prototypes: Annotated", f"{block}    prototypes: Annotated"),))
    backbone, data_set = follow("backbone.md", checkout), follow("data-set.md", checkout)
    assert {str(Path(place).parent) for place in method[:-1]} == {"src/lookalike/methods/ncm"}
    assert (len(backbone), len(data_set)) == (2, 2)
    ends = [method[-1], backbone[-1], data_set[-1]]
    assert ends == [f"src/lookalike/{room}/registry.py" for room in REGISTRIES]

    ncm = {"method": "ncm", "training": TRAINING, "prototypes": {"per_class": 3}, "memory": {"per_class": 1}}
    ncm["datasets"] = ["digits"]
    tiny = {"method": "fc", "training": TRAINING, "backbone": {"name": "tiny_cnn"}, "datasets": ["stripes"]}
    study = {
        **BASE,
        "train_sizes": ["all", 60],
        "datasets": {"digits": {"train_sizes": [60]}, "stripes": {"train_sizes": ["all"]}},
    }
    models = {**{name: {**model, "datasets": ["digits"]} for name, model in BASE["models"].items()}, "tiny": tiny}
    checkout.write({**study, "models": {**models, "ncm": ncm}})
    figures = [f"results/added/figures/{kind}-digits-ncm-60-mean-test.svg" for kind in ("weights", "rivals")]
    counts = ran(checkout, "tables", *figures)
    assert (counts["prepare_data"], counts["train"], counts["evaluate"]) == (1, 2, 2)  # nothing of the others
    assert (counts["explain"], counts.get("analyse", 0)) == (1, 0)
    folder = checkout.folder / "results/added"
    accuracy = {(row["dataset"], row["model"]): float(row["accuracy"]) for row in rows(folder / "tables/accuracy.csv")}
    assert set(accuracy) == {("digits", "fc"), ("digits", "nw"), ("digits", "ncm"), ("stripes", "tiny")}
    assert accuracy["stripes", "tiny"] > 0.5
    assert all((checkout.folder / figure).stat().st_size > 1000 for figure in figures)
    plan = checkout.snakemake("plan")  # what the backbone costs is counted, since no table has it
    assert "networks: training and embedding take" in plan.stdout, plan.stdout + plan.stderr

    # A key that is read from embedding on: another number of prototypes trains nothing.
    checkout.write({**study, "models": {**models, "ncm": {**ncm, "prototypes": {"per_class": 2}}}})
    counts = ran(checkout, "tables", *figures)
    assert (counts.get("train", 0), counts["embed"], counts["evaluate"], counts["explain"]) == (0, 1, 1, 1)
    check(checkout)
