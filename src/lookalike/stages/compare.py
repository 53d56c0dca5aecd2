"""Compare published numbers with those of a study, finished or not."""

from __future__ import annotations

from lookalike.core.errors import LookalikeError
from lookalike.core.files import write_sealed, write_text
from lookalike.reporting.catalogue import title_of
from lookalike.reporting.published.compare import compare_published, comparison_tables, summarise
from lookalike.reporting.writing import as_csv, as_latex, as_markdown, latex_label
from lookalike.study.plan import Plan


def compare(plan: Plan) -> str:
    """Write results/<study>/tables/published.csv, .md and .tex.

    Returns:
        How many numbers have which verdict, and those that differ.

    Raises:
        LookalikeError: The study names no published numbers, or an address of theirs does not exist.
    """
    if not plan.published:
        raise LookalikeError(f"{plan.name} names no published numbers; write\n  published: [human_study]")
    table = compare_published(plan)
    path = plan.folder / "tables" / "published"
    write_sealed(path.with_suffix(".csv"), as_csv(table))
    parts = comparison_tables(table)
    markdown = (f"## {title_of(part.name)}\n\n{as_markdown(part.shown, part.caption)}" for part in parts)
    write_text(path.with_suffix(".md"), "\n".join(markdown))
    label = latex_label(plan.name, "published")
    latex = (as_latex(part.shown, part.caption, f"{label}-{number}") for number, part in enumerate(parts))
    write_text(path.with_suffix(".tex"), "\n".join(latex))
    return summarise(table)
