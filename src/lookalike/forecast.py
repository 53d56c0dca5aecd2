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
from rich.table import Table

from lookalike.data.registry import DATA_SETS
from lookalike.errors import LookalikeError
from lookalike.plan import Plan

REASONS = {
    "missing": "not made yet",
    "params changed": "settings or code changed",
    "updated input files": "an input changed",
    "set of input files changed": "other inputs",
    "removed temp file": "not made yet",
}
GROUPS = {"table_": "tables", "figure_": "figures", "precompute_": "precompute_support"}
ORDER = (
    "init_tracking",
    "prepare_data",
    "train",
    "precompute_support",
    "evaluate",
    "explain",
    "collect_metrics",
    "tables",
    "figures",
    "write_report",
    "sync_tracking",
)


@dataclass
class Stage:
    """The jobs of one rule.

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
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "COLUMNS": "200"})
    if done.returncode:
        raise LookalikeError(f"snakemake cannot plan {study}: {done.stderr.strip().splitlines()[-1]}.")
    lines = done.stdout.splitlines()
    head = next((i for i, line in enumerate(lines) if line.startswith("output_file\t")), len(lines))
    jobs: dict[tuple[str, str], set[str]] = defaultdict(set)
    for row in csv.DictReader(lines[head:], delimiter="\t"):
        state = "done" if row["plan"] == "no update" else row["status"]
        jobs[row["rule"], row["log-file(s)"]].add("not made yet" if row["rule"] == "-" else state)
    times = _recorded(plan)
    stages: dict[str, Stage] = {}
    for (rule, log), states in jobs.items():
        stage = stages.setdefault(_stage_of(rule), Stage())
        stage.jobs += 1
        if states == {"done"}:
            stage.done += 1
            continue
        for state in sorted(states - {"done"})[:1]:
            stage.reasons[REASONS.get(state, "an input is due" if state == "ok" else state)] += 1
        expected = times.get(log) or times.get(_kind(log))
        if stage.seconds is not None:
            stage.seconds = None if expected is None else stage.seconds + expected
    order = {name: place for place, name in enumerate(ORDER)}
    return dict(sorted(stages.items(), key=lambda item: order.get(item[0], len(order))))


def _stage_of(rule: str) -> str:
    """Tables and figures are many rules and one line."""
    return next((name for prefix, name in GROUPS.items() if rule.startswith(prefix)), rule)


def _kind(log: str) -> str:
    """Jobs of one kind share it: everything but the seed."""
    parts = [part for part in Path(log).parts if not part.startswith("seed")]
    return "/".join(parts).removesuffix(".log")


def _recorded(plan: Plan) -> dict[str, float]:
    """Seconds by log file and, as a median, by kind; from Snakemake's benchmark files."""
    found: dict[str, float] = {}
    kinds: dict[str, list[float]] = defaultdict(list)
    for path in plan.root.glob("**/benchmarks/*.tsv"):
        with open(path) as handle:
            seconds = float(next(csv.DictReader(handle, delimiter="\t"))["s"])
        log = str(path.parent.parent / "logs" / f"{path.stem}.log")
        found[log] = seconds
        kinds[_kind(log)].append(seconds)
    return found | {kind: statistics.median(values) for kind, values in kinds.items()}


def show_plan(study: Path, plan: Plan) -> None:
    """Print the plan: runs, jobs by stage, time, disk, data to fetch by hand."""
    console = Console()
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
    data = sum(DATA_SETS[name].prepared_bytes for name in plan.datasets)
    console.print(f"disk: {data / 1e6:.1f} MB of prepared images; {_size(plan.folder) / 1e6:.1f} MB of results so far")
    console.print("data to fetch by hand: none")


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("**/*") if path.is_file())
