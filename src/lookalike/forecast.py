"""What a study will do, before it does anything."""

from __future__ import annotations

import csv
import os
import statistics
import subprocess
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lookalike.data.download import is_fetched, obstacle
from lookalike.data.registry import DATA_SETS
from lookalike.data.settings import entry_settings, prepared_bytes
from lookalike.errors import LookalikeError
from lookalike.jobs import list_jobs, study_sources
from lookalike.plan import Plan

SHOWN_RUNS = 30
REASONS = {
    "missing": "not made yet",
    "params changed": "settings or code changed",
    "updated input files": "an input changed",
    "set of input files changed": "other inputs",
    "ok": "an input is due",
}


@dataclass
class Stage:
    """The jobs of one stage.

    Attributes:
        jobs: all jobs.
        done: up to date.
        reasons: why the others are due.
        seconds: expected for those, None where nothing was recorded.
    """

    jobs: int = 0
    done: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    seconds: float | None = 0.0


def read_stages(study: Path, plan: Plan) -> dict[str, Stage]:
    """Ask Snakemake, which alone knows what is out of date, and add the expected times.

    Args:
        study: the study's YAML.
        plan: the same, resolved.

    Raises:
        LookalikeError: Snakemake cannot make the plan.
    """
    command = [sys.executable, "-m", "snakemake", "--summary", "--configfile", str(study)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise LookalikeError(f"snakemake cannot plan {study}: {done.stderr.strip() or done.stdout.strip()}")
    lines = done.stdout.splitlines()
    head = next((i for i, line in enumerate(lines) if line.startswith("output_file\t")), len(lines))
    states = {row["output_file"]: row for row in csv.DictReader(lines[head:], delimiter="\t")}
    times = _recorded_times(plan)
    stages: dict[str, Stage] = {}
    for job in list_jobs(plan):
        stage = stages.setdefault(job.stage, Stage())
        stage.jobs += 1
        state = states.get(str(job.output))
        if state is not None and state["plan"] == "no update":
            stage.done += 1
            continue
        status = "missing" if state is None or not job.output.exists() else state["status"]
        stage.reasons[REASONS.get(status, status)] += 1
        expected = times.get(str(job.benchmark)) or times.get(_kind(job.benchmark))
        if stage.seconds is not None:
            stage.seconds = None if expected is None else stage.seconds + expected
    return stages


def _kind(benchmark: Path) -> str:
    """What jobs that differ only by study and seed share."""
    return "/".join(part for part in benchmark.parts[2:] if not part.startswith("seed"))


def _recorded_times(plan: Plan) -> dict[str, float]:
    """Seconds by benchmark file and, as a median, by kind."""
    found: dict[str, float] = {}
    kinds: dict[str, list[float]] = defaultdict(list)
    for path in plan.root.glob("**/benchmarks/*.tsv"):
        with open(path) as handle:
            row = next(csv.DictReader(handle, delimiter="\t"), None)
        if row is not None:
            found[str(path)] = float(row["s"])
            kinds[_kind(path)].append(float(row["s"]))
    return found | {kind: statistics.median(values) for kind, values in kinds.items()}


def show_plan(study: Path, plan: Plan) -> None:
    """Print the plan: runs, jobs by stage, time, disk, data to fetch by hand."""
    console = Console(soft_wrap=True)
    stages = read_stages(study, plan)
    runs = list(plan.runs())
    console.print(
        f"[bold]{plan.study}[/bold]: {len(runs)} runs = {len(plan.datasets)} data sets x {len(plan.models)} models "
        f"x {len(plan.sizes)} sizes x {len(plan.seeds)} seeds; {len(list(plan.evaluations()))} evaluations"
    )
    table = Table("stage", "jobs", "done", "due", "expected", "why", box=None, header_style="bold")
    for name, stage in stages.items():
        due = stage.jobs - stage.done
        several = len(stage.reasons) > 1
        why = ", ".join(reason + f" ({count})" * several for reason, count in stage.reasons.items())
        expected = "" if not due else "unknown" if stage.seconds is None else f"{stage.seconds:.0f} s"
        table.add_row(name, str(stage.jobs), str(stage.done), str(due), expected, why)
    console.print(table)
    cores = os.cpu_count() or 1
    due = sum(stage.jobs - stage.done for stage in stages.values())
    known = [stage.seconds for stage in stages.values() if stage.seconds is not None]
    unknown = [name for name, stage in stages.items() if stage.seconds is None]
    if not due:
        console.print("time: nothing to do")
    else:
        more = f"; no recorded time yet for {', '.join(unknown)}" if unknown else ""
        console.print(f"time: about {sum(known) / cores:.0f} s on {cores} cores{more}")
    data = sum(prepared_bytes(entry_settings(settings)) for settings in plan.datasets.values())
    console.print(f"disk: {data / 1e6:,.1f} MB of prepared images; {_size(plan.folder) / 1e6:.1f} MB of results so far")
    _show_data(console, plan)
    shown = [run.id for run in runs[:SHOWN_RUNS]]
    more = f"\n  and {len(runs) - SHOWN_RUNS} more" if len(runs) > SHOWN_RUNS else ""
    console.print("runs:\n  " + "\n  ".join(shown) + more, highlight=False)


def _show_data(console: Console, plan: Plan) -> None:
    """What must be fetched, and what keeps it from being fetched."""
    lacking = [name for name in study_sources(plan) if not is_fetched(name)]
    if not lacking:
        console.print("data: all is here")
        return
    for name in lacking:
        size = DATA_SETS[name].download_bytes
        amount = f"{size / 1e6:,.1f} MB" if size else "unknown size"
        console.print(f"data to fetch: {name}, {amount}, {DATA_SETS[name].licence}", highlight=False)
    for message in obstacles(plan):
        console.print(f"[bold]nothing can run yet:[/bold] {escape(message)}", highlight=False)


def obstacles(plan: Plan) -> list[str]:
    """What a person must do about data before the study can run: one sentence each."""
    lacking = {
        s["source"] for name, s in plan.datasets.items() if not (plan.data_folder(name) / "manifest.json").exists()
    }
    found = [obstacle(name) for name in study_sources(plan) if name in lacking]
    for name, settings in plan.datasets.items():
        path = settings.get("path")
        if path is not None and not Path(path).exists():
            found.append(
                f"data set {name}: path {path} is missing; give a folder with train/ and test/, or a CSV file."
            )
    return [message for message in found if message]


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("**/*") if path.is_file())
