"""Write one table of a study."""

from __future__ import annotations

from lookalike.core.errors import LookalikeError
from lookalike.reporting.catalogue import tables_of
from lookalike.reporting.writing import latex_label, write_table
from lookalike.study.plan import Plan


def draw_table(plan: Plan, name: str) -> None:
    """Write results/<study>/tables/<name>.csv, .tex and .md.

    Args:
        plan: The study.
        name: Name of the table.

    Raises:
        LookalikeError: The study has no such table, or a file that it is drawn from is missing or damaged.
    """
    tables = tables_of(plan)
    if name not in tables:
        raise LookalikeError(f"{plan.name} has no table {name!r}; there are {', '.join(tables)}.")
    write_table(plan.folder / "tables" / name, tables[name].draw(plan), latex_label(plan.name, name))
