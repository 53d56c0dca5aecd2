"""What a study will do, before it does anything."""

from __future__ import annotations

import contextlib
import csv
import os
import statistics
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lookalike.contracts.settings import weights_files
from lookalike.core.errors import LookalikeError
from lookalike.core.files import read_json
from lookalike.data.fetched import is_fetched, obstacle
from lookalike.data.registry import DATA_SETS
from lookalike.data.settings import prepared_bytes
from lookalike.pipeline.cost import RATE, study_cost
from lookalike.pipeline.job_groups import job_groups
from lookalike.pipeline.jobs import Job, list_jobs, run_jobs
from lookalike.pipeline.resources import RUNS_AT_ONCE, job_resources
from lookalike.pipeline.study_file import read_plan
from lookalike.study.plan import Plan

SHOWN_RUNS = 30
REASONS = {
    "missing": "not there yet",
    "params changed": "settings or code changed",
    "updated input files": "an input changed",
    "set of input files changed": "other inputs",
    "ok": "an input is due",
}


@dataclass
class StageState:
    """The jobs of one stage.

    Attributes:
        jobs: Number of all jobs.
        done: Number of those that are up to date.
        reasons: Reasons why the others are due, with their numbers.
        seconds: Expected time of those; None where nothing was recorded.
        longest: Expected time of the longest of them, in seconds.
        gpu_seconds: Expected time of those that ask for a GPU.
        submitted: Number of those that a cluster runs.
        resources: The most that one of them asks of a cluster.
    """

    jobs: int = 0
    done: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    seconds: float | None = 0.0
    longest: float = 0.0
    gpu_seconds: float = 0.0
    submitted: int = 0
    resources: dict[str, int] = field(default_factory=dict)

    def add(self, expected: float | None, resources: dict[str, int]) -> None:
        """One more job that is due."""
        self.submitted += bool(resources)
        largest = {name: max(value, self.resources.get(name, 0)) for name, value in resources.items()}
        self.resources = largest or self.resources
        if expected is None or self.seconds is None:
            self.seconds = None
            return
        self.seconds += expected
        self.longest = max(self.longest, expected)
        self.gpu_seconds += expected * resources.get("gpu", 0)


@contextlib.contextmanager
def summary_of(study: Path) -> Iterator[subprocess.Popen[str]]:
    """Ask Snakemake, which alone knows what is out of date; it thinks for seconds, while others go on.

    Args:
        study: Path of the study's YAML, or of its plan.json.
    """
    command = [sys.executable, "-m", "snakemake", "--summary", "--config", f"study={study}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as summary:
        try:
            yield summary
        finally:
            summary.kill()


def read_states(study: Path, plan: Plan, summary: subprocess.Popen[str]) -> dict[str, StageState]:
    """What is due of each stage, by what Snakemake says, with expected times.

    Args:
        study: Path of the study's YAML, or of its plan.json.
        plan: The same, resolved.
        summary: Snakemake, asked by `summary_of`.

    Raises:
        LookalikeError: Snakemake cannot make the plan.
    """
    times, groups = Times(plan), {group.name: group for group in job_groups(plan)}
    output, errors = summary.communicate()
    if summary.returncode:
        raise LookalikeError(f"snakemake cannot plan {study}: {errors.strip() or output.strip()}")
    lines = output.splitlines()
    head = next((i for i, line in enumerate(lines) if line.startswith("output_file\t")), len(lines))
    rows = {row["output_file"]: row for row in csv.DictReader(lines[head:], delimiter="\t")}
    states: dict[str, StageState] = {}
    for job in list_jobs(plan):
        state = states.setdefault(job.stage.name, StageState())
        state.jobs += 1
        row = rows.get(str(job.output))
        if row is not None and row["plan"] == "no update":
            state.done += 1
            continue
        status = "missing" if row is None or not job.output.exists() else row["status"]
        state.reasons[REASONS.get(status, status)] += 1
        if job.item.name in groups and not job.stage.is_of_runs and job.stage.asks_cluster:
            runs = groups[job.item.name].runs
            resources = job_resources(plan, job.stage, runs[0], job.item, at_once=RUNS_AT_ONCE)
            state.add(_together(times, run_jobs(plan, runs)), resources)
        elif job.item.run is not None:
            state.add(times.expected(job), job_resources(plan, job.stage, job.item.run, job.item))
        else:
            state.add(times.expected(job), {})
    return states


def _together(times: Times, jobs: Iterable[Job]) -> float | None:
    """Expected time of jobs that share an allocation; None where one of them is unknown."""
    total = 0.0
    for job in jobs:
        seconds = times.expected(job)
        if seconds is None:
            return None
        total += seconds
    return total / RUNS_AT_ONCE


def _kind(benchmark: Path) -> str:
    """The words that jobs share which differ only by study and seed."""
    return "/".join(part for part in benchmark.parts[2:] if not part.startswith("seed"))


class Times:
    """Recorded times: of the very job, of jobs that differ by study and seed, of other sizes of the same model.

    Args:
        plan: The study, below whose root all records are read.
    """

    def __init__(self, plan: Plan) -> None:
        self.seconds: dict[str, float] = {}
        kinds: dict[str, list[float]] = defaultdict(list)
        rates: dict[tuple[str, ...], list[float]] = defaultdict(list)
        for path in plan.root.glob("**/benchmarks/*.tsv"):
            with open(path) as handle:
                row = next(csv.DictReader(handle, delimiter="\t"), None)
            if row is None:
                continue
            self.seconds[str(path)] = float(row["s"])
            kinds[_kind(path)].append(float(row["s"]))
            record = path.parent.parent / "run.json"
            if path.stem == "train" and record.exists():
                values = read_json(record)
                work = values["data"]["training_images"] * values["epochs"]
                rates[tuple(values["run"].split("/")[:2])].append(float(row["s"]) / work)
        self.seconds |= {kind: statistics.median(values) for kind, values in kinds.items()}
        self.rates = {kind: statistics.median(values) for kind, values in rates.items()}

    def expected(self, job: Job) -> float | None:
        """Seconds of a job; None where nothing alike was recorded."""
        seconds = self.seconds.get(str(job.benchmark)) or self.seconds.get(_kind(job.benchmark))
        run = job.item.run
        if seconds is not None or run is None or job.stage.name != "train":
            return seconds
        rate = self.rates.get((run.dataset, run.model))
        training = job.plan.settings_of(run).own_training
        if rate is None or training is None:
            return None
        # The user's own files may not have been counted yet.
        images = job.plan.datasets[run.dataset].counts().get("train") if run.size == "all" else int(run.size)
        return None if images is None else rate * images * training.epochs


def show_plan(study: Path) -> None:
    """Print the plan: runs, jobs by stage, time, disk, data to fetch by hand.

    Args:
        study: Path of the study's YAML, or of its plan.json.

    Raises:
        LookalikeError: The study is wrong.
    """
    with summary_of(study) as summary:
        plan = read_plan(study)
        states = read_states(study, plan, summary)
    console = Console(soft_wrap=True)
    runs = list(plan.runs())
    console.print(
        f"[bold]{plan.name}[/bold]: {len(runs)} runs of {len(plan.models)} models on "
        f"{len({run.dataset for run in runs})} data sets at {len(plan.sizes)} sizes, {len(plan.seeds)} seeds each; "
        f"{len(list(plan.evaluations()))} evaluations"
    )
    table = Table("stage", "jobs", "done", "due", "expected", "why", box=None, header_style="bold")
    for name, state in states.items():
        due = state.jobs - state.done
        several = len(state.reasons) > 1
        why = ", ".join(reason + f" ({count})" * several for reason, count in state.reasons.items())
        expected = "" if not due else "unknown" if state.seconds is None else f"{state.seconds:.0f} s"
        table.add_row(name, str(state.jobs), str(state.done), str(due), expected, why)
    console.print(table)
    _show_time(console, states)
    prepared = {settings.prepared: settings for settings in plan.datasets.values()}
    data = sum(map(prepared_bytes, prepared.values()))
    cost = study_cost(plan)
    console.print(
        f"networks: training and embedding take {cost.flops:.1e} operations, {cost.gpu_hours:,.2g} GPU hours at an "
        f"assumed {RATE / 1e12:.0f} TFLOP/s; re-ranking, samples and explanations come on top; "
        f"{cost.weights / 1e9:,.2g} GB of weights",
        highlight=False,
    )
    console.print(f"disk: {data / 1e6:,.1f} MB of prepared images; {_size(plan.folder) / 1e6:.1f} MB of results so far")
    _show_data(console, plan)
    shown = [run.id for run in runs[:SHOWN_RUNS]]
    more = f"\n  and {len(runs) - SHOWN_RUNS} more" if len(runs) > SHOWN_RUNS else ""
    console.print("runs:\n  " + "\n  ".join(shown) + more, highlight=False)


def _show_time(console: Console, states: dict[str, StageState]) -> None:
    """Expected time of what is due, here and on a cluster."""
    cores = os.cpu_count() or 1
    if all(state.jobs == state.done for state in states.values()):
        console.print("time: nothing to do")
        return
    seconds = sum(state.seconds for state in states.values() if state.seconds is not None)
    unknown = [name for name, state in states.items() if state.seconds is None]
    more = f"; no recorded time yet for {', '.join(unknown)}" if unknown else ""
    console.print(f"time: about {seconds / cores:.0f} s on {cores} cores{more}")
    _show_cluster(console, list(states.values()))


def _show_cluster(console: Console, states: list[StageState]) -> None:
    """What the due jobs would ask of a cluster."""
    jobs = sum(state.submitted for state in states)
    if not jobs:
        return
    most = {name: max(state.resources.get(name, 0) for state in states) for name in ("mem_mb", "runtime")}
    most_asked = f"at most {most['mem_mb']:,} MB and {most['runtime']:,} minutes asked for one job"
    if any(state.seconds is None for state in states if state.submitted):
        times = "GPU hours and longest chain unknown until times are recorded"
    else:
        hours, chain = (
            sum(seconds) / 3600 for seconds in zip(*((s.gpu_seconds, s.longest) for s in states), strict=True)
        )
        times = f"{hours:.2g} GPU hours, longest chain about {chain:.2g} hours"
    console.print(f"on a cluster: {jobs:,} jobs, {times}; {most_asked}", highlight=False)


def _show_data(console: Console, plan: Plan) -> None:
    """What must be fetched, and what keeps it from being fetched."""
    lacking = [name for name in _sources(plan) if not is_fetched(name)]
    if not lacking:
        console.print("data: all is here")
        return
    for name in lacking:
        size = DATA_SETS[name].download_bytes
        amount = f"{size / 1e6:,.1f} MB" if size else "unknown size"
        console.print(f"data to fetch: {name}, {amount}, {DATA_SETS[name].licence}", highlight=False)
    for message in obstacles(plan):
        console.print(f"[bold]nothing can run yet:[/bold] {escape(message)}", highlight=False)


def _sources(plan: Plan) -> list[str]:
    """Registry names of a study's data sets, each once."""
    return list(dict.fromkeys(settings.source for settings in plan.datasets.values()))


def obstacles(plan: Plan) -> list[str]:
    """What a person must do about data and weights before the study can run: one sentence each."""
    entries = plan.datasets
    unprepared = {s.source for name, s in entries.items() if not (plan.data_folder(name) / "manifest.json").exists()}
    messages = [obstacle(name) for name in _sources(plan) if name in unprepared]
    for name, settings in entries.items():
        path = settings.path_of_images
        if path is not None and not Path(path).exists():
            messages.append(
                f"data set {name}: path {path} is missing; give a folder with train/ and test/, or a CSV file."
            )
    keys: dict[str, list[str]] = {}
    for group, owners in (("models", plan.models), ("datasets", entries)):
        for name, owner in owners.items():
            for key, path in weights_files(owner).items():
                keys.setdefault(path, []).append(f"{group}.{name}.{key}")
    messages += [
        f"weights file {path} is missing; put it there, or change {', '.join(names)}."
        for path, names in keys.items()
        if not Path(path).exists()
    ]
    for name, study in plan.human_studies.items():
        messages += [
            f"{path} is missing; put it there, or change human_studies.{name}.{key}."
            for key, path in study.files().items()
            if not Path(path).exists()
        ]
    return [message for message in messages if message]


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("**/*") if path.is_file())
