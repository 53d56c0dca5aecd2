"""The report: one HTML page with every table and figure, to be opened from disk."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader

from lookalike.contracts.citations import CORRESPONDENCE
from lookalike.core.files import read_json
from lookalike.core.tables import read_csv
from lookalike.data.registry import DATA_SETS
from lookalike.reporting.catalogue import HUMAN_STUDY, Figure, Table, figures_of, tables_of, title_of
from lookalike.reporting.html import TEMPLATE
from lookalike.reporting.published.compare import VERDICTS, ComparisonTable, comparison_tables, count_marks
from lookalike.study.plan import Plan, RunSpec
from lookalike.study.published import ADDRESS

PUBLISHED_FIGURE = "published"  # stands beside the table it shows
POINTS = 72 * 6.9  # of a figure as wide as the page, which is as wide as two columns of a paper
LINKED_RUNS = 60  # of a row; more are one link to their folder


def render_report(plan: Plan) -> str:
    """The report's page, from the files of tables, figures and run records."""
    records = [read_json(run.record) for run in plan.runs()]
    origin = records[0]["git"]
    tables, figures = tables_of(plan).values(), figures_of(plan)
    published_figure = figures.pop(PUBLISHED_FIGURE, None)
    of_people = [HUMAN_STUDY in entry.reads for entry in tables]
    environment = Environment(loader=FileSystemLoader(TEMPLATE.parent), autoescape=True)
    return environment.get_template(TEMPLATE.name).render(
        plan=plan,
        runs=records,
        commit=(origin["commit"] or "outside a repository")[:12],
        dirty=origin["dirty"],
        datasets=[(name, settings, DATA_SETS[settings.source]) for name, settings in plan.datasets.items()],
        devices=sorted({record["device"] for record in records}),
        references=_citations(plan),
        published=_published(plan),
        published_figure=None if published_figure is None else _figure(plan, published_figure),
        human_study_tables=[_table(plan, entry) for entry, people in zip(tables, of_people, strict=True) if people],
        human_study_figures=[_figure(plan, entry) for entry in figures.values() if HUMAN_STUDY in entry.reads],
        tables=[_table(plan, entry) for entry, people in zip(tables, of_people, strict=True) if not people],
        figures=[_figure(plan, entry) for entry in figures.values() if HUMAN_STUDY not in entry.reads],
    )


def _citations(plan: Plan) -> list[str]:
    """The papers behind a study's methods and released data, each once."""
    papers = [paper for entry in plan.models.values() for paper in entry.citations]
    return list(dict.fromkeys([*papers, *[CORRESPONDENCE] * bool(plan.human_studies)]))


def _published(plan: Plan) -> dict[str, Any] | None:
    """Verdicts and comparison tables, a link to its record a row; None where the study names no published numbers."""
    if not plan.published:
        return None
    table = read_csv(plan.folder / "tables" / "published.csv", keep_default_na=False, dtype=str)
    for name in ("reproduced", "low", "high", "difference"):
        table[name] = pd.to_numeric(table[name], errors="coerce")
    readable = table[table.mark != "unreadable"]
    shown = [_comparison(plan, part) for part in comparison_tables(table)]
    return {
        "counts": [(verdict, int((readable.verdict == verdict).sum())) for verdict in VERDICTS],
        "numbers": count_marks(readable),
        "unreadable": len(table) - len(readable),
        "tables": [part for part in shown if part["name"] != "absent"],
        "absent": next((part for part in shown if part["name"] == "absent"), None),
        "differs": [(title_of(row.table), row) for _, row in readable[readable.verdict == "differs"].iterrows()],
    }


def _comparison(plan: Plan, table: ComparisonTable) -> dict[str, Any]:
    links = [_record(plan, address) for address in table.addresses]
    rows = [list(map(str, row)) for row in table.shown.itertuples(index=False)]
    headings = list(map(str, table.shown.columns))
    if any(links):
        headings.append("Record")
    return {
        "name": table.name,
        "heading": title_of(table.name),
        "verdicts": table.verdicts,
        "open": "differs" in table.verdicts,
        "headings": headings,
        "rows": [(row, cell) for row, cell in zip(rows, links, strict=True)],
        "caption": table.caption,
    }


def _record(plan: Plan, address: str) -> list[tuple[str, str]]:
    """Links, text and place, to what a reproduced number was made of."""
    match = ADDRESS.fullmatch(address)
    if match is None:
        return []
    if entry := match["entry"]:
        return [(entry, f"human_study/{entry}.json")]
    runs = [plan.run_spec(match["dataset"], match["model"], match["size"], seed) for seed in plan.seeds]
    return _links([run for run in runs if run.record.exists()])


def _links(runs: list[RunSpec]) -> list[tuple[str, str]]:
    if len(runs) > LINKED_RUNS:
        return [(f"{len(runs)} runs", f"{runs[0].dataset}/{runs[0].model}/")]
    several = len({run.size for run in runs}) > 1
    return [(f"{run.size}:{run.seed}" if several else str(run.seed), f"{run.id}/run.json") for run in runs]


def _table(plan: Plan, table: Table) -> dict[str, Any]:
    """A table as its Markdown file has it: headings, rows with links to the records of their runs, caption."""
    lines = (plan.folder / "tables" / f"{table.name}.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    headings, body = rows[0], rows[2:]
    links = [_links(_runs_of(plan, dict(zip(headings, row, strict=True)))) for row in body]
    if HUMAN_STUDY in table.reads:
        links = [[(row[0], f"human_study/{row[0]}.json")] for row in body]
    return {
        "name": table.name,
        "heading": title_of(table.name),
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


def _figure(plan: Plan, figure: Figure) -> dict[str, Any]:
    """A figure's SVG without its XML head; ids get the figure's name, since one page holds several."""
    svg = (plan.folder / "figures" / f"{figure.name}.svg").read_text(encoding="utf-8")
    svg = svg[svg.index("<svg") :]
    prefix = re.sub(r"\W", "_", figure.name)
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}_", svg)
    width = float(re.match(r'<svg[^>]* width="([\d.]+)pt"', svg)[1])  # type: ignore[index]
    share = min(1.0, width / POINTS)
    return {"name": figure.name, "svg": svg, "share": share, "caption": figure.caption}
