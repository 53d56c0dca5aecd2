"""Write the report of a study: one HTML page with every table and figure."""

from __future__ import annotations

from lookalike.core.files import write_text
from lookalike.reporting.html.report import render_report
from lookalike.study.plan import Plan


def write_report(plan: Plan) -> None:
    """Write results/<study>/report.html from the files of tables, figures and run records."""
    write_text(plan.folder / "report.html", render_report(plan))
