"""The report: one HTML page with every table and figure, to be opened from disk."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader

from lookalike.data.registry import DATA_SETS
from lookalike.files import read_json, write_text
from lookalike.plan import Plan, RunSpec
from lookalike.reporting.compare import VERDICTS, Twin, counted, twins
from lookalike.reporting.names import heading, released_figures, released_tables
from lookalike.reporting.published import ADDRESS
from lookalike.reporting.references import references

CAPTIONS = {
    "accuracy": "Accuracy and calibration error: mean over seeds, 95 % t interval, a tick for each seed.",
    "reliability": "Accuracy against confidence, seeds pooled, 95 % Wilson intervals; grey bars: share of queries.",
    "learning_curves": "Training loss and accuracy: mean over seeds, band from the lowest to the highest seed.",
    "size": "Accuracy by number of training images, each model in its first mode: mean and 95 % t interval over seeds.",
    "memory": "Memory images that a query used. Blue: gets the query's class (example); orange: another one.",
    "heat_maps": "Integrated gradients: pixels that add to (orange) or take from (violet) the logit of the class.",
    "correspondences": (
        "Nearest neighbours, and exemplars after re-ranking: squares of one number join patches of query (above) and "
        "exemplar (below), 5 counts most. Blue frame: the query's true class; orange: another."
    ),
    "flow": (
        "The best exemplar: how each patch of one image correlates with the other image, and the query put together "
        "from the exemplar's patches, the darker the less a pair counts."
    ),
    "looks_like": (
        "The prototypes that a query looks most like, as the inverse of their means: probability, and share of the "
        "query among the prototypes of that class; beside each the training images of highest density under it. Blue "
        "frame: the query's true class; orange: another."
    ),
    "prototypes": (
        "Each prototype as the inverse of its mean, with its share of its class's training images; one sample of it, "
        "its deviations and those of the halves that the flow drops times 0.5, 0.75 and 1; and the training images of "
        "highest density under it."
    ),
    "between": "Inverses of points on the straight way between the means of two classes' most used prototypes.",
    "weights": "Most probable classes and heaviest training images. Blue: the query's true class; orange: another.",
    "published": (
        "Published numbers (diamonds) and reproduced ones with 95 % intervals: over sessions, drawn persons and images"
        ", images, seeds, or the authors' subsamples. The table of each panel is above."
    ),
    "human_accuracy": (
        "How often people judge a classifier's answer rightly, by condition: mean over sessions, 95 % t interval. "
        "Filled: patch pairs are shown."
    ),
    "human_contrasts": (
        "All pairs of conditions: difference of accuracy and Welch's 95 % interval; significance by Mann-Whitney U. "
        "Only blue pairs are of the same images and answers; the others mix explanation, classifier and images."
    ),
    "human_sensitivity": (
        "How well people tell right answers from wrong ones (d') against how reluctant they are to accept (criterion), "
        "95 % intervals from drawing persons and queries. Filled: patch pairs are shown. A shift to the right alone is "
        "rejecting more, not seeing better."
    ),
    "human_team": (
        "What people add to the AI alone, by three estimates: as published, on one pool of images, and with people's "
        "accuracy reweighted to that pool. 95 % intervals from drawing images, persons and queries."
    ),
    "classifiers": "Accuracy against confidence, 95 % Wilson intervals; on the dashed line confidence is right.",
    "influence": "Training images whose removal would raise (helpful) or lower (harmful) the loss of the query most.",
}


POINTS = 72 * 6.9  # of a figure as wide as the page, which is as wide as two columns of a paper
LINKED_RUNS = 60  # of a row; more are one link to their folder


def write_report(plan: Plan, tables: list[str], figures: list[str]) -> None:
    """Write results/<study>/report.html from the files of tables, figures and run records.

    Args:
        plan: the study.
        tables: names of the tables, in order.
        figures: names of the figures, in order.
    """
    records = [read_json(run.folder / "run.json") for run in plan.runs()]
    origin = records[0]["git"]
    released = {*released_tables(plan), *released_figures(plan), "published"}
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True)
    page = environment.get_template("report.html.jinja").render(
        plan=plan,
        runs=records,
        commit=(origin["commit"] or "outside a repository")[:12],
        dirty=origin["dirty"],
        datasets=[(name, settings, DATA_SETS[settings["source"]]) for name, settings in plan.datasets.items()],
        devices=sorted({record["device"] for record in records}),
        references=references(plan),
        published=_published(plan),
        released_tables=[_table(plan, name) for name in tables if name in released],
        released_figures=[_figure(plan, name) for name in figures if name in released and name != "published"],
        published_figure=_figure(plan, "published") if "published" in figures else None,
        tables=[_table(plan, name) for name in tables if name not in released],
        figures=[_figure(plan, name) for name in figures if name not in released],
    )
    write_text(plan.folder / "report.html", page)


def _published(plan: Plan) -> dict[str, Any] | None:
    """Verdicts and twin tables, a link to its record a row; None where the study names no published numbers."""
    if not plan.published:
        return None
    table = pd.read_csv(plan.folder / "tables" / "published.csv", keep_default_na=False, dtype=str)
    for name in ("reproduced", "low", "high", "difference"):
        table[name] = pd.to_numeric(table[name], errors="coerce")
    known = table[table.mark != "unreadable"]
    shown = [_twin(plan, twin) for twin in twins(table)]
    return {
        "counts": [(verdict, int((known.verdict == verdict).sum())) for verdict in VERDICTS],
        "numbers": counted(known),
        "unreadable": len(table) - len(known),
        "tables": [twin for twin in shown if twin["name"] != "absent"],
        "absent": next((twin for twin in shown if twin["name"] == "absent"), None),
        "differs": [(heading(row.table), row) for _, row in known[known.verdict == "differs"].iterrows()],
    }


def _twin(plan: Plan, twin: Twin) -> dict[str, Any]:
    links = [_record(plan, address) for address in twin.made_by]
    rows = [list(map(str, row)) for row in twin.shown.itertuples(index=False)]
    headings = list(map(str, twin.shown.columns))
    if any(links):
        headings.append("Record")
    return {
        "name": twin.name,
        "heading": heading(twin.name),
        "verdicts": twin.verdicts,
        "open": "differs" in twin.verdicts,
        "headings": headings,
        "rows": [(row, cell) for row, cell in zip(rows, links, strict=True)],
        "caption": twin.caption,
    }


def _record(plan: Plan, address: str) -> list[tuple[str, str]]:
    """Links, text and place, to what a reproduced number was made of."""
    found = ADDRESS.fullmatch(address)
    if found is None:
        return []
    if entry := found["entry"]:
        return [(entry, f"human_study/{entry}.json")]
    runs = [RunSpec(plan, found["dataset"], found["model"], found["size"], seed) for seed in plan.seeds]
    return _links([run for run in runs if (run.folder / "run.json").exists()])


def _links(runs: list[RunSpec]) -> list[tuple[str, str]]:
    if len(runs) > LINKED_RUNS:
        return [(f"{len(runs)} runs", f"{runs[0].dataset}/{runs[0].model}/")]
    several = len({run.size for run in runs}) > 1
    return [(f"{run.size}:{run.seed}" if several else str(run.seed), f"{run.id}/run.json") for run in runs]


def _table(plan: Plan, name: str) -> dict[str, Any]:
    """A Markdown table of ours: headings, rows with links to the records of their runs, caption."""
    lines = (plan.folder / "tables" / f"{name}.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    headings, body = rows[0], rows[2:]
    links = [_links(_runs_of(plan, dict(zip(headings, row, strict=True)))) for row in body]
    if name in released_tables(plan):
        links = [[(row[0], f"human_study/{row[0]}.json")] for row in body]
    return {
        "name": name,
        "heading": heading(name),
        "headings": [*headings, *["Record"] * any(links)],
        "rows": list(zip(body, links, strict=True)),
        "caption": lines[-1],
    }


def _runs_of(plan: Plan, row: dict[str, str]) -> list[RunSpec]:
    """The runs that a row of a table is about, by the headings that name one."""
    if "Model" not in row:
        return []
    wanted = {"dataset": row.get("Data set"), "size": row.get("Size"), "model": row["Model"]}
    return [run for run in plan.runs() if all(v in (None, getattr(run, name)) for name, v in wanted.items())]


def _figure(plan: Plan, name: str) -> dict[str, Any]:
    """A figure's SVG without its XML head; ids get the figure's name, since one page holds several."""
    svg = (plan.folder / "figures" / f"{name}.svg").read_text(encoding="utf-8")
    svg = svg[svg.index("<svg") :]
    prefix = re.sub(r"\W", "_", name)
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}_", svg)
    kind, _, rest = name.partition("-")
    width = float(re.match(r'<svg[^>]* width="([\d.]+)pt"', svg)[1])  # type: ignore[index]
    share = min(1.0, width / POINTS)
    return {"name": name, "svg": svg, "share": share, "caption": CAPTIONS[kind] + (f" {rest}." if rest else "")}
