"""`lookalike data <verb>`: list, fetch, prepare, verify the data sets."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from lookalike.core.errors import LookalikeError
from lookalike.pipeline.stage_runner import StageRunner

data_app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
Names = Annotated[list[str], typer.Argument(help="Names that `lookalike data list` shows.")]
ROOT = Path("results")
WIDE = 200  # columns of a list that goes to a file


def _checked(names: list[str]) -> list[str]:
    """The names, if the registry has them all."""
    from lookalike.data.registry import DATA_SETS

    for name in names:
        if name not in DATA_SETS:
            raise LookalikeError(f"data set {name!r} is unknown; there are {', '.join(DATA_SETS)}.")
    return names


@data_app.command("list")
def list_data() -> None:
    """Show every data set: images, size, licence, how it is got, what is here."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from lookalike.data.listing import list_data as listed
    from lookalike.data.reader_input import downloads

    table = Table(box=None, header_style="bold")
    for heading in ("name", "state", "how", "download"):
        table.add_column(heading, no_wrap=True)
    table.add_column("images", max_width=20)
    table.add_column("licence and source")
    for line in listed(ROOT):
        cells = map(escape, (line.name, line.state, line.how, line.size, line.images))
        table.add_row(*cells, f"{escape(line.licence)}\n[dim]{escape(line.origin)}[/dim]")
    Console(width=None if sys.stdout.isatty() else WIDE).print(table)
    typer.echo(f"fetched files: {downloads()}; prepared sets: {ROOT / 'data'}")


@data_app.command()
def fetch(
    names: Names,
    accept_licence: Annotated[bool, typer.Option(help="Accept the terms that `data list` shows.")] = False,
) -> None:
    """Fetch data sets: resumed, checked, from mirrors in order; or say what to fetch by hand."""
    from lookalike.data.download import fetch as fetch_files
    from lookalike.data.fetched import accept, check_accepted
    from lookalike.data.reader_input import downloads
    from lookalike.data.registry import DATA_SETS

    runner = StageRunner("fetch_data")
    for name in _checked(names):
        if accept_licence and DATA_SETS[name].accept:
            accept(name)
        elif sys.stdin.isatty() and DATA_SETS[name].accept:
            try:
                check_accepted(name)
            except LookalikeError:
                if typer.confirm(f"{name}: {DATA_SETS[name].licence}. Accept?"):
                    accept(name)
        log = downloads() / name / "logs" / "fetch_data.log"
        with _bars() as report:
            runner.do(name, log, lambda name=name, report=report: fetch_files(name, report))  # type: ignore[misc]
    runner.end()


@contextmanager
def _bars() -> Iterator[Callable[[str, int, int], None]]:
    """One progress bar a file, on a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    tasks: dict[str, Any] = {}
    with Progress(
        *columns, TimeRemainingColumn(), console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True
    ) as progress:

        def report(file: str, done: int, total: int) -> None:
            if file not in tasks:
                tasks[file] = progress.add_task(file, total=total or None)
            progress.update(tasks[file], completed=done, total=total or None)

        yield report


@data_app.command()
def prepare(
    names: Names,
    options: Annotated[str, typer.Option(help="JSON of the options that a study's entry may have.")] = "{}",
) -> None:
    """Bring data sets, which all studies share, into their on-disk form."""
    from pydantic import ValidationError

    from lookalike.core.files import write_text
    from lookalike.data.prepare import prepare_data
    from lookalike.data.registry import DATA_SETS
    from lookalike.data.settings import DataSettings, settings_class
    from lookalike.pipeline.fingerprint import VERSION_FILE, prepared_version

    runner = StageRunner("prepare_data")
    for name in _checked(names):
        if not DATA_SETS[name].reader:
            raise LookalikeError(f"data set {name} is nothing to prepare: {DATA_SETS[name].origin}.")
        try:
            settings = settings_class(name).model_validate({"source": name, **json.loads(options)})
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"]))
            raise LookalikeError(f"--options {options} does not fit {name}: {key}: {first['msg'].lower()}.") from None
        except (ValueError, TypeError) as error:
            raise LookalikeError(f"--options {options} is no JSON object ({error}).") from None
        folder = ROOT / "data" / settings.prepared
        log = folder / "logs" / "prepare_data.log"

        def prepare_one(settings: DataSettings = settings, folder: Path = folder) -> str:
            result = prepare_data(settings, folder)
            write_text(folder / VERSION_FILE, prepared_version(settings))
            return result

        runner.do(settings.prepared, log, prepare_one)
    runner.end()


@data_app.command("filter")
def filter_data(
    folder: Annotated[Path, typer.Argument(help="Folder of a prepared data set, results/data/imagenet say.")],
    names: Annotated[list[str], typer.Argument(help="Filters: unlabelled, duplicates, greyscale, small.")],
    weights: Annotated[str, typer.Option(help="ResNet-50 weights, for duplicates.")] = "",
) -> None:
    """Say which test images a filter removes, and why."""
    from lookalike.data.settings import FILTERS
    from lookalike.stages.filter_data import filter_data as run_filter

    runner = StageRunner("filter_data")
    for name in names:
        if name not in FILTERS:
            raise LookalikeError(f"filter {name!r} is unknown; there are {', '.join(FILTERS)}.")
        if name == "duplicates" and not weights:
            raise LookalikeError("the filter duplicates needs --weights FILE, a ResNet-50.")
        options = {"weights": weights} if name == "duplicates" else {}
        log = folder / "logs" / f"filter_data-{name}.log"
        runner.do(f"{folder.name} {name}", log, lambda n=name, o=options: run_filter(folder, n, **o))  # type: ignore[misc]
    runner.end()


@data_app.command("collect-filters")
def collect_filters(
    folder: Annotated[Path, typer.Argument(help="Folder of a prepared data set whose filters have run.")],
) -> None:
    """Join what the filters left and compare it with the published clean list."""
    from lookalike.stages.filter_data import collect_filters as collect

    runner = StageRunner("collect_filters")
    runner.do(folder.name, folder / "logs" / "collect_filters.log", lambda: collect(folder))
    runner.end()


@data_app.command()
def verify(names: Annotated[list[str] | None, typer.Argument(help="All that are here without.")] = None) -> None:
    """Hash all that was fetched and prepared again and compare."""
    from lookalike.data.listing import has_anything, verify_data
    from lookalike.data.registry import DATA_SETS

    chosen = _checked(names or []) or [name for name in DATA_SETS if has_anything(name, ROOT)]
    failed = False
    for name in chosen:
        faults = verify_data(name, ROOT)
        failed |= bool(faults)
        missing = "nothing is here" if not has_anything(name, ROOT) else "all as recorded"
        typer.echo(f"{name}: " + ("; ".join(faults) or missing), err=bool(faults))
    if not chosen:
        typer.echo("nothing was fetched or prepared yet")
    if failed:
        raise typer.Exit(1)
