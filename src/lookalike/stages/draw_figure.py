"""Write one figure of a study."""

from __future__ import annotations

from lookalike.core.errors import LookalikeError
from lookalike.reporting.catalogue import figures_of
from lookalike.reporting.style import save_figure, set_style
from lookalike.study.plan import Plan


def draw_figure(plan: Plan, name: str) -> None:
    """Write results/<study>/figures/<name>.svg, .pdf and .png.

    Args:
        plan: The study.
        name: Name of the figure.

    Raises:
        LookalikeError: The study has no such figure, or a file that it is drawn from is missing or damaged.
    """
    figures = figures_of(plan)
    if name not in figures:
        raise LookalikeError(f"{plan.name} has no figure {name!r}; there are {', '.join(figures)}.")
    set_style()
    save_figure(figures[name].draw(plan), plan.folder / "figures" / name)
