"""Tables and figures: one declaration each, from which the workflow takes names, inputs, labels and captions.

A table or figure is a module below `tables/` or `figures/` with one declaration and the function that draws it; a
method's are declared in its settings class. The workflow reads declarations alone: modules import pandas and matplotlib
where they draw.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lookalike.contracts.analysis import Analysis
from lookalike.contracts.report import ExplanationFigure, RunTable
from lookalike.contracts.settings import MethodSettings, key_of
from lookalike.core.errors import LookalikeError
from lookalike.methods.registry import METHODS
from lookalike.study.plan import AnalysisRun, Evaluation, Plan

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as Drawing

TABLE_FORMATS = ("csv", "tex", "md")
FIGURE_FORMATS = ("svg", "pdf", "png")
METHODS_PLACE, LAST = 50, 100  # of what methods declare, and of what says nothing
# What a table or figure reads, besides the files of `collect_metrics` by name.
PREDICTIONS, OOD_PREDICTIONS, HISTORIES = "predictions", "ood_predictions", "histories"
HUMAN_STUDY, PUBLISHED = "human_study", "published"
COLLECTED = ("metrics", "class_metrics", "reliability", "ood_metrics")
WRITTEN = {
    "ai": "AI",
    "cub": "CUB",
    "imagenet": "ImageNet",
    "ood": "OOD",
    "real": "ReaL",
    "svhn": "SVHN",
    "top1": "top-1",
}


def title_of(name: str) -> str:
    """`human_accuracy_by_ai_cub` as a title: Human accuracy by AI CUB."""
    text = " ".join(WRITTEN.get(word, word) for word in name.split("_"))
    return text[:1].upper() + text[1:]


def always(plan: Plan) -> bool:
    """Whether every study has it."""
    return True


def has_several_sizes(plan: Plan) -> bool:
    """Whether any model is trained on more than one number of images."""
    cells = [(dataset, model) for dataset, model, _ in plan.cells()]
    return len(set(cells)) < len(cells)


def has_human_study(key: str, plan: Plan) -> bool:
    """Whether any human study of a study has a key."""
    return any(getattr(entry, key) for entry in plan.human_studies.values())


def first_modes(plan: Plan) -> dict[str, str]:
    """The mode by which each model stands where a figure shows it once."""
    return {name: entry.modes[0] for name, entry in plan.models.items()}


@dataclass(frozen=True)
class TableContent:
    """What a table holds.

    Attributes:
        numbers: All digits, for the CSV file.
        shown: Formatted text, for LaTeX and Markdown.
        caption: Sentences below the table.
    """

    numbers: pd.DataFrame
    shown: pd.DataFrame
    caption: str


@dataclass(frozen=True)
class Table:
    """A table of a study.

    Attributes:
        name: Name of the table and its files.
        label: What it shows, in a few words.
        reads: What it is drawn from: names of `COLLECTED`, `predictions`, `human_study`, or `analysis:<name>`.
        draw: Function that gives its content.
        exists: Whether a study has it.
        module: Module whose code it hangs on; set when it is collected.
        category: Group in Snakemake's report.
        place: Order among the others.
        settings: What of the study it reads besides these files, as JSON values.
    """

    name: str
    label: str
    reads: tuple[str, ...]
    draw: Callable[[Plan], TableContent]
    exists: Callable[[Plan], bool] = always
    module: str = ""
    category: str = "Tables"
    place: int = LAST
    settings: Callable[[Plan], Any] = lambda plan: None


@dataclass(frozen=True)
class Figure:
    """A figure of a study.

    Attributes:
        name: Name of the figure and its files.
        label: What it shows, in a few words.
        caption: Sentences below the figure.
        reads: What it is drawn from: names of `COLLECTED`, `histories`, `published`, `human_study`; nothing where it
            shows one explanation.
        draw: Function that draws it.
        exists: Whether a study has it.
        module: Module whose code it hangs on; set when it is collected.
        category: Group in Snakemake's report.
        place: Order among the others.
        shows: The explanation or analysis that it shows; None for others.
        settings: What of the study it reads besides these files, as JSON values.
    """

    name: str
    label: str
    caption: str
    reads: tuple[str, ...]
    draw: Callable[[Plan], Drawing]
    exists: Callable[[Plan], bool] = always
    module: str = ""
    category: str = "Figures"
    place: int = LAST
    shows: Evaluation | AnalysisRun | None = None
    settings: Callable[[Plan], Any] = lambda plan: None


def table_paths(plan: Plan, name: str) -> list[Path]:
    """The files of a table."""
    return [plan.folder / "tables" / f"{name}.{suffix}" for suffix in TABLE_FORMATS]


def figure_paths(plan: Plan, name: str) -> list[Path]:
    """The files of a figure."""
    return [plan.folder / "figures" / f"{name}.{suffix}" for suffix in FIGURE_FORMATS]


@cache
def declarations(kind: type[Table] | type[Figure], package: str) -> tuple[Any, ...]:
    """What the modules of a package declare, in order.

    Args:
        kind: `Table` or `Figure`.
        package: Dotted name of the package.
    """
    entries = []
    for info in pkgutil.iter_modules(importlib.import_module(package).__path__):
        module = importlib.import_module(f"{package}.{info.name}")
        for value in vars(module).values():
            entries += [
                replace(entry, module=module.__name__)
                for entry in (value if isinstance(value, tuple) else [value])
                if isinstance(entry, kind)
            ]
    return tuple(sorted(entries, key=lambda entry: (entry.place, entry.name)))


def tables_of(plan: Plan) -> dict[str, Table]:
    """Every table of a study, by name and in order.

    Raises:
        LookalikeError: Two tables have one name.
    """
    general = declarations(Table, "lookalike.reporting.tables")
    return _by_name([*general, *method_tables(_methods_of(plan))], plan)


def figures_of(plan: Plan) -> dict[str, Figure]:
    """Every figure of a study, by name and in order.

    Raises:
        LookalikeError: Two figures have one name.
    """
    general = declarations(Figure, "lookalike.reporting.figures")
    return _by_name([*general, *_explanation_figures(plan)], plan)


def _by_name(entries: list[Any], plan: Plan) -> dict[str, Any]:
    by_name: dict[str, Any] = {}
    for entry in sorted(entries, key=lambda entry: entry.place):
        if entry.exists(plan) and by_name.setdefault(entry.name, entry) is not entry:
            raise LookalikeError(
                f"two {type(entry).__name__.lower()}s are called {entry.name!r}, in {by_name[entry.name].module} and "
                f"{entry.module}; rename one."
            )
    return by_name


def _methods_of(plan: Plan) -> list[type[MethodSettings]]:
    """Settings classes of a study's methods, in the order of the registry."""
    methods = {entry.method for entry in plan.models.values()}
    return [method.settings_class() for name, method in METHODS.items() if name in methods]


def method_tables(methods: Iterable[type[MethodSettings]]) -> list[Table]:
    """The tables that methods declare; methods that share a room share its tables.

    Args:
        methods: Settings classes of the methods.
    """
    tables: dict[int, Table] = {}
    for settings in methods:
        of_analysis = {name: analysis for analysis in settings.analyses for name in analysis.tables}
        for declared in settings.tables:
            tables.setdefault(id(declared), _run_table(declared, of_analysis.get(declared.name)))
    return list(tables.values())


def _run_table(declared: RunTable, analysis: Analysis | None) -> Table:
    def draw(plan: Plan) -> TableContent:
        from lookalike.reporting.run_tables import draw_run_table

        return draw_run_table(plan, declared, analysis)

    def exists(plan: Plan) -> bool:
        return analysis is None or any(run.analysis is analysis for run in plan.analyses())

    return Table(
        name=declared.name,
        label=declared.label,
        reads=("metrics",) if analysis is None else (f"analysis:{analysis.name}", "metrics"),
        draw=draw,
        exists=exists,
        module=declared.rows.partition(":")[0] or "lookalike.reporting.run_tables",
        place=METHODS_PLACE,
        settings=lambda plan: [asdict(declared)],
    )


def _explanation_figures(plan: Plan) -> Iterator[Figure]:
    """Drawings of explanation records, and of what analyses leave: one of each kind for every explanation shown."""
    shown = plan.shown_explanations()
    kinds = {id(figure): figure for settings in _methods_of(plan) for figure in settings.figures}
    for declared in kinds.values():
        for explanation, evaluation in shown.items():
            entry = plan.models[evaluation.run.model]
            if not any(figure is declared for figure in entry.figures):
                continue
            if declared.key and key_of(entry, declared.key) is None:
                continue
            analysis = next((row for row in entry.analyses if declared.kind in row.figures), None)
            shows = evaluation if analysis is None else AnalysisRun(evaluation.run, analysis, evaluation.evaluation_set)
            yield _explanation_figure(declared, explanation, shows)


def _explanation_figure(declared: ExplanationFigure, explanation: str, shows: Evaluation | AnalysisRun) -> Figure:
    def draw(plan: Plan) -> Drawing:
        from lookalike.reporting.drawing.explanations import draw_explanation

        return draw_explanation(plan, declared, shows)

    return Figure(
        name=f"{declared.kind}-{explanation}",
        label=f"{declared.label}, {explanation}",
        caption=f"{declared.caption} {explanation}.",
        reads=(),
        draw=draw,
        module=declared.draw.partition(":")[0],
        place=METHODS_PLACE,
        shows=shows,
    )
