"""Verbs of stages, one for each row of the stage table: every item has its own log and failure."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from lookalike.core.errors import LookalikeError
from lookalike.pipeline.fingerprint import task_of
from lookalike.pipeline.stage_runner import StageRunner
from lookalike.pipeline.stage_table import STAGES, Item, Stage
from lookalike.pipeline.study_file import read_plan
from lookalike.study.plan import Plan, RunSpec

PlanFile = Annotated[Path, typer.Argument(help="Path of results/<study>/plan.json, or of the study's YAML.")]
Runs = Annotated[list[str], typer.Argument(help="Runs such as digits/fc/all/seed0.")]
Names = Annotated[list[str], typer.Argument(help="Names, as `lookalike plan` shows them.")]
Modes = Annotated[list[str], typer.Option("--mode", help="Inference mode; may be repeated.")]
AnalysisName = Annotated[str, typer.Option("--analysis", help="Name of an analysis that the method declares.")]
EvaluationSet = Annotated[str, typer.Option("--evaluation-set", help="Evaluation set, such as test.")]
Cores = Annotated[int, typer.Option(help="CPU cores of this job.")]
Bar = Annotated[bool | None, typer.Option("--progress/--no-progress", help="Progress bar; on a terminal by default.")]


def add_stages(app: typer.Typer) -> None:
    """Add a verb for every stage that works on a study; those of data have an app of their own."""
    for stage in STAGES.values():
        if not stage.is_of_data:
            app.command(stage.verb, help=f"{stage.title}.")(_verb(stage))


def _verb(stage: Stage) -> Callable[..., None]:
    """The function behind a verb; its parameters are the command's."""

    def of_study(plan: PlanFile = Path("config.yaml")) -> None:
        _do(stage, read_plan(plan), [Item()])

    def of_names(plan: PlanFile, names: Names) -> None:
        _do(stage, read_plan(plan), [Item(name=name) for name in names])

    def of_group(plan: PlanFile, names: Names, cores: Cores = 1) -> None:
        _do(stage, read_plan(plan), [Item(name=name) for name in names], cores=cores)

    def of_runs(plan: PlanFile, runs: Runs) -> None:
        study = read_plan(plan)
        _do(stage, study, map(Item, map(study.run, runs)))

    def of_training(plan: PlanFile, runs: Runs, progress: Bar = None) -> None:
        from lookalike.cli.progress import followed

        study = read_plan(plan)
        shown = sys.stderr.isatty() if progress is None else progress
        _do(stage, study, map(Item, map(study.run, runs)), around=followed(shown))

    def of_sets(plan: PlanFile, runs: Runs, evaluation_set: EvaluationSet) -> None:
        study = read_plan(plan)
        _do(stage, study, [Item(run, evaluation_set=evaluation_set) for run in map(study.run, runs)])

    def of_modes(plan: PlanFile, runs: Runs, modes: Modes, evaluation_set: EvaluationSet = "test") -> None:
        study = read_plan(plan)
        chosen = list(map(study.run, runs))
        for run in chosen:
            _check(study, run, modes, evaluation_set)
        items = [Item(run, mode=mode, evaluation_set=evaluation_set) for run in chosen for mode in modes]
        _do(stage, study, items)

    def of_analyses(plan: PlanFile, runs: Runs, analysis: AnalysisName, evaluation_set: EvaluationSet = "test") -> None:
        study = read_plan(plan)
        items = []
        for run in map(study.run, runs):
            _check(study, run, [], evaluation_set)
            items.append(Item(run, analysis=study.analysis_of(run, analysis), evaluation_set=evaluation_set))
        _do(stage, study, items)

    if stage.name == "train":
        return of_training
    verbs: dict[str, Callable[..., None]] = {
        "study": of_study,
        "job group": of_group,
        "run": of_runs,
        "run and evaluation set": of_sets,
        "run, mode and evaluation set": of_modes,
        "run, analysis and evaluation set": of_analyses,
    }
    return verbs.get(stage.per, of_names)


def _check(plan: Plan, run: RunSpec, modes: Iterable[str], evaluation_set: str) -> None:
    """Raise LookalikeError where a run has not the mode or evaluation set that a command names."""
    own_modes = plan.models[run.model].modes
    for mode in modes:
        if mode not in own_modes:
            raise LookalikeError(f"{run.id} has no mode {mode!r}; its modes are {', '.join(own_modes)}.")
    sets = [*plan.sets_of(run.dataset), *plan.ood_sets(run.dataset, run.size)]
    if evaluation_set not in sets:
        raise LookalikeError(f"{run.id} has no evaluation set {evaluation_set!r}; there are {', '.join(sets)}.")


def _do(
    stage: Stage,
    plan: Plan,
    items: Iterable[Item],
    around: Callable[[Plan, Item, Callable[..., Any]], Callable[[], str | None]] | None = None,
    **options: Any,
) -> None:
    """Do a stage for several items, one after the other.

    Args:
        stage: The stage.
        plan: The study.
        items: What it works on.
        around: Function of plan, item and the action that gives the action that is done instead.
        options: Further arguments of the stage's function.
    """
    runner = StageRunner(stage.name)
    for item in items:

        def action(item: Item = item, **more: Any) -> Any:
            module, _, name = stage.function.partition(":")
            function = getattr(importlib.import_module(module), name)
            if item.run is not None:
                return function(task_of(plan, item), **more)
            return function(plan, *[item.name] * bool(item.name), **options)

        done = action if around is None else around(plan, item, action)
        runner.do(item.subject or plan.name, stage.log(plan, item), done)
    runner.end()
