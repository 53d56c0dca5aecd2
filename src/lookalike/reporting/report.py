"""The report: one HTML page with every table and figure, to be opened from disk."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader

from lookalike.files import read_json, write_text
from lookalike.plan import Plan

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
    "influence": "Training images whose removal would raise (helpful) or lower (harmful) the loss of the query most.",
}


def write_report(plan: Plan, tables: list[str], figures: list[str]) -> None:
    """Write results/<study>/report.html from the files of tables, figures and run records.

    Args:
        plan: the study.
        tables: names of the tables, in order.
        figures: names of the figures, in order.
    """
    records = [read_json(run.folder / "run.json") for run in plan.runs()]
    origin = records[0]["git"]
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True)
    page = environment.get_template("report.html.jinja").render(
        plan=plan,
        runs=records,
        commit=(origin["commit"] or "outside a repository")[:12],
        dirty=origin["dirty"],
        tables=[_table(plan.folder / "tables" / f"{name}.md") for name in tables],
        figures=[_figure(plan.folder / "figures" / f"{name}.svg", name) for name in figures],
    )
    write_text(plan.folder / "report.html", page)


def _table(path: Path) -> dict[str, Any]:
    """A Markdown table of ours as HTML, and its caption."""
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    head = "".join(f"<th>{cell}</th>" for cell in rows[0])
    rows = [[re.sub(r"^\*\*(.+)\*\*$", r"<b>\1</b>", cell) for cell in row] for row in rows]
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows[2:])
    return {
        "html": f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>",
        "caption": lines[-1],
    }


def _figure(path: Path, name: str) -> dict[str, str]:
    """A figure's SVG without its XML head; ids get the figure's name, since one page holds several."""
    svg = path.read_text(encoding="utf-8")
    svg = svg[svg.index("<svg") :]
    prefix = re.sub(r"\W", "_", name)
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}_", svg)
    kind, _, rest = name.partition("-")
    return {"svg": svg, "caption": CAPTIONS[kind] + (f" {rest}." if rest else "")}
