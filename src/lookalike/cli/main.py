"""`lookalike <verb>`: one verb a stage. Every stage takes one run or several, each with its own log and failure."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Annotated

import typer

from lookalike.cli.data import data_app
from lookalike.cli.stages import PlanFile, add_stages
from lookalike.core.errors import LookalikeError
from lookalike.methods.registry import METHODS
from lookalike.pipeline.study_file import read_plan

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
StudyFile = Annotated[Path, typer.Argument(help="Path of a study's YAML.")]


@app.command()
def plan(study: StudyFile = Path("config.yaml")) -> None:
    """Show what a study will do: runs, jobs, what is done or out of date and why, time, disk, data."""
    from lookalike.pipeline.dry_run import show_plan

    show_plan(study)


@app.command()
def status(
    plan: PlanFile = Path("config.yaml"),
    failed: Annotated[bool, typer.Option("--failed", help="Only what failed, one line each.")] = False,
) -> None:
    """Show where a study stands: done, running, failed and why, out of date, and the commands to do it again."""
    from lookalike.pipeline.status import show_failures, show_status

    study = read_plan(plan)
    if failed:
        show_failures(study)
    else:
        show_status(study, plan)


app.add_typer(data_app, name="data")
add_stages(app)


@app.command()
def bundle(
    plan: PlanFile,
    output: Annotated[Path | None, typer.Option(help="File to write; <study>.zip by default.")] = None,
    weights: Annotated[bool, typer.Option("--weights", help="Add the networks.")] = False,
) -> None:
    """Put tables, figures, predictions and records of a study into one file for another machine."""
    from lookalike.pipeline.bundle import bundle as write_bundle

    study = read_plan(plan)
    typer.echo(f"bundle {study.name}: {write_bundle(study, output or Path(f'{study.name}.zip'), weights)}")


@app.command()
def unbundle(
    file: Annotated[Path, typer.Argument(help="File that `lookalike bundle` wrote.")],
    results: Annotated[Path, typer.Option(help="Folder to open it in.")] = Path("results"),
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Draw all tables and figures anew.")] = False,
) -> None:
    """Open a bundle: check every file by its hash, mirror its runs in MLflow, draw anew if asked."""
    from lookalike.pipeline.bundle import rebuild as draw
    from lookalike.pipeline.bundle import unbundle as open_bundle
    from lookalike.stages.sync_tracking import sync_tracking

    study = open_bundle(file, results)
    typer.echo(f"unbundle {study.name}: all files as they were, in {study.folder}")
    if rebuild:
        for remark in draw(study):
            typer.echo(remark)
        typer.echo(f"unbundle {study.name}: tables and figures drawn anew")
    typer.echo(f"sync_tracking {study.name}: {sync_tracking(study)}")


@app.command()
def make_smoke(
    study: StudyFile,
    folder: Annotated[Path, typer.Argument(help="Folder to write: the small study, its data and its results.")],
) -> None:
    """Write a study in small, with drawn images and random networks, to see that all of it works."""
    from lookalike.pipeline.smoke import make_smoke as write_smoke

    typer.echo(f"make-smoke {study}: {write_smoke(study, folder)} in {folder}")


@app.command()
def migrate(study: StudyFile) -> None:
    """Rewrite a study of an older version with today's keys; comments stay."""
    from lookalike.study.migrate import migrate as rewrite

    typer.echo(f"migrate {study}: {rewrite(study)}")


@app.command()
def schema() -> None:
    """Print the JSON schema of a study."""
    import json

    from lookalike.study.model import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))


@app.command()
def reference(
    folder: Annotated[Path, typer.Argument(help="Folder of the documentation's reference pages.")],
) -> None:
    """Write the generated pages of the documentation, and the table of network costs."""
    from lookalike.pipeline.reference import write_reference

    for path in write_reference(folder):
        typer.echo(f"reference: {path}")


@app.command()
def check() -> None:
    """Check that what is declared fits together: registries, stages, tables, figures, analyses, public examples."""
    from lookalike.pipeline.check import check_declarations

    typer.echo(f"check: {check_declarations()}")


for module in dict.fromkeys(method.settings_class().commands for method in METHODS.values()):
    if module:
        app.add_typer(importlib.import_module(module).app)


def main() -> None:
    """Entry point: a user's mistake is one sentence, anything else a traceback."""
    try:
        app(prog_name="lookalike")
    except LookalikeError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(1)
