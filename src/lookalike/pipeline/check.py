"""Whether what is declared fits together: each fact stands in one place, and the places agree.

Registries name modules that exist, stages have outputs, tables and figures have names of their own, analyses name
tables and figures that their method declares, and the examples of the public face run. The first misfit is one
sentence.
"""

from __future__ import annotations

import doctest
import importlib
import inspect
import io
from collections.abc import Iterable
from typing import Any

from lookalike.backbones.registry import BACKBONES
from lookalike.contracts.settings import MethodSettings, Settings
from lookalike.core.errors import LookalikeError
from lookalike.data.registry import DATA_SETS
from lookalike.methods.registry import METHODS
from lookalike.metrics import GENERAL
from lookalike.metrics.metric import load_metrics
from lookalike.pipeline.stage_table import STAGES, Stage
from lookalike.pipeline.workflow import Workflow
from lookalike.reporting.catalogue import Figure, Table, declarations, method_tables
from lookalike.study.model import Study
from lookalike.study.plan import Plan

PUBLIC = ("lookalike", "lookalike.metrics", "lookalike.explain", "lookalike.rerank")


def check_declarations() -> str:
    """Check all declarations.

    Returns:
        How many there are.

    Raises:
        LookalikeError: A declaration does not fit; the message names it.
    """
    counts = {
        "methods": _check_methods(),
        "backbones": _check_backbones(),
        "readers": _check_readers(),
        "stages": check_stages(STAGES.values()),
        "tables and figures": _check_catalogue(),
        "metrics": _check_metrics(),
        "public examples": check_examples(PUBLIC),
    }
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def resolve(address: str, owner: str) -> Any:
    """What `module:name` stands for, or a module alone.

    Args:
        address: Dotted module, with a name behind a colon where one is meant.
        owner: Declaration that gives it, for the message.

    Raises:
        LookalikeError: There is no such module, or it has no such name.
    """
    name, _, attribute = address.partition(":")
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise LookalikeError(f"{owner} names the module {name}, which is missing ({error}); mend it.") from None
    if not attribute:
        return module
    if not hasattr(module, attribute):
        raise LookalikeError(f"{owner} names {attribute} of {name}, which has none; mend it.")
    return getattr(module, attribute)


def _check_methods() -> int:
    for name, row in METHODS.items():
        owner = f"methods.registry: {name}"
        settings = resolve(f"{row.package}.settings:{row.prefix}Settings", owner)
        resolve(f"{row.classifier_module}:{row.prefix}Classifier", owner)
        _check_method(name, settings)
    return len(METHODS)


def _check_method(name: str, settings: type[MethodSettings]) -> None:
    """The analyses, tables, figures and commands of a method name what exists."""
    owner = f"method {name}"
    tables = {table.name: table for table in settings.tables}
    kinds = {figure.kind for figure in settings.figures}
    for analysis in settings.analyses:
        resolve(analysis.compute, f"{owner}: analysis {analysis.name}")
        for table in analysis.tables:
            if table not in tables:
                raise LookalikeError(
                    f"{owner}: analysis {analysis.name} names the table {table!r}, which {settings.__name__}.tables "
                    f"lacks; there are {', '.join(tables) or 'none'}."
                )
        for kind in analysis.figures:
            if kind not in kinds:
                raise LookalikeError(
                    f"{owner}: analysis {analysis.name} names the figure {kind!r}, which {settings.__name__}.figures "
                    f"lacks; there are {', '.join(sorted(kinds)) or 'none'}."
                )
        _check_key(settings, analysis.key, f"{owner}: analysis {analysis.name}")
    for declared in settings.tables:
        if declared.rows:
            resolve(declared.rows, f"{owner}: table {declared.name}")
    for figure in settings.figures:
        resolve(figure.draw, f"{owner}: figure {figure.kind}")
        _check_key(settings, figure.key, f"{owner}: figure {figure.kind}")
    if settings.commands:
        resolve(f"{settings.commands}:app", f"{owner}: commands")


def _check_key(settings: type[Settings], key: str, owner: str) -> None:
    """A dotted key is one of the settings class."""
    kind: Any = settings
    for word in key.split(".") if key else ():
        if word not in getattr(kind, "model_fields", {}):
            raise LookalikeError(f"{owner} has the key {key!r}, which {settings.__name__} lacks; mend it.")
        annotation = kind.model_fields[word].annotation
        choices = getattr(annotation, "__args__", (annotation,))
        kind = next((choice for choice in choices if hasattr(choice, "model_fields")), None)


def _check_backbones() -> int:
    for name, row in BACKBONES.items():
        resolve(f"{row.module}:{row.network}", f"backbones.registry: {name}")
        if row.smoke and row.smoke not in BACKBONES:
            raise LookalikeError(f"backbones.registry: {name} names {row.smoke!r} for a study in small; there is none.")
    return len(BACKBONES)


def _check_readers() -> int:
    readers = {name: row.reader for name, row in DATA_SETS.items() if row.reader}
    for name, module in readers.items():
        resolve(f"{module}:read", f"data.registry: {name}")
    return len(readers)


def check_stages(stages: Iterable[Stage]) -> int:
    """Check that every stage has a function and outputs.

    Args:
        stages: Rows of the stage table.

    Raises:
        LookalikeError: A stage has none; the message names it.
    """
    study = {
        "version": 2,
        "name": "check",
        "datasets": {"digits": {"source": "digits"}},
        "models": {"fc": {"method": "fc"}},
        "seeds": [0],
    }
    plan = Plan.of(Study.model_validate(study))
    workflow, count = Workflow(plan), 0
    for stage in stages:
        resolve(stage.function, f"stage {stage.name}")
        item = workflow.pattern(stage)
        if not stage.outputs(plan, item):
            raise LookalikeError(f"stage {stage.name} has no output; give its row in pipeline/stage_table.py one.")
        count += 1
    return count


def _check_catalogue() -> int:
    """Names of tables and figures are unique: the general ones, and those of all methods together."""
    methods = [row.settings_class() for row in METHODS.values()]
    tables = [*declarations(Table, "lookalike.reporting.tables"), *method_tables(methods)]
    figures = declarations(Figure, "lookalike.reporting.figures")
    kinds = {id(figure): figure for settings in methods for figure in settings.figures}
    _check_unique("table", [(table.name, table.module) for table in tables])
    _check_unique(
        "figure",
        [(figure.name, figure.module) for figure in figures]
        + [(figure.kind, figure.draw.partition(":")[0]) for figure in kinds.values()],
    )
    return len(tables) + len(figures) + len(kinds)


def _check_unique(what: str, entries: list[tuple[str, str]]) -> None:
    modules: dict[str, str] = {}
    for name, module in entries:
        if name in modules:
            raise LookalikeError(f"two {what}s are called {name!r}, in {modules[name]} and {module}; rename one.")
        modules[name] = module


def _check_metrics() -> int:
    modules = dict.fromkeys([*GENERAL, *(name for row in METHODS.values() for name in row.settings_class().metrics)])
    for module in modules:
        resolve(module, "metrics")
    try:
        metrics = load_metrics(modules)
    except ValueError as error:
        raise LookalikeError(f"{error}; rename one.") from None
    for row in METHODS.values():
        settings = row.settings_class()
        for table in settings.tables:
            for column in () if table.rows else (*(column.name for column in table.columns), *table.csv_columns):
                if column not in metrics:
                    raise LookalikeError(
                        f"table {table.name} of {settings.__name__} has the column {column!r}, which is no metric; "
                        "declare it, or mend the name."
                    )
    return len(metrics)


def check_examples(modules: Iterable[str]) -> int:
    """Run the examples of all public names.

    Args:
        modules: Modules whose `__all__` is public.

    Raises:
        LookalikeError: A name has no example, or its example fails.
    """
    count, finder = 0, doctest.DocTestFinder(recurse=False)
    for face in map(importlib.import_module, modules):
        for name in face.__all__:
            public = getattr(face, name)
            if not (inspect.isclass(public) or inspect.isfunction(public)):
                continue
            examples = [test for test in finder.find(public, name, globs={}) if test.examples]
            if not examples:
                raise LookalikeError(f"{face.__name__}.{name} is public and has no example; write one.")
            for test in examples:
                out = io.StringIO()
                if doctest.DocTestRunner(verbose=False).run(test, out=out.write).failed:
                    lines = " | ".join(line.strip() for line in out.getvalue().splitlines() if line.strip())
                    raise LookalikeError(f"the example of {face.__name__}.{name} fails: {lines}")
            count += 1
    return count
