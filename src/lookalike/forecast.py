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
from lookalike.files import read_json
from lookalike.human_study.settings import FILES
from lookalike.jobs import Job, list_jobs, run_jobs, study_sources
from lookalike.needs import RUNS_AT_ONCE, job_needs
from lookalike.packs import packs
from lookalike.plan import Plan, RunSpec, named_weights

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
        longest: seconds of the longest of them.
        gpu_seconds: of those that ask for a GPU.
        submitted: of those, the ones that a cluster runs.
        needs: the most that one of them asks of a cluster.
    """

    jobs: int = 0
    done: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    seconds: float | None = 0.0
    longest: float = 0.0
    gpu_seconds: float = 0.0
    submitted: int = 0
    needs: dict[str, int] = field(default_factory=dict)

    def add(self, expected: float | None, needs: dict[str, int]) -> None:
        """One more job that is due."""
        self.submitted += bool(needs)
        self.needs = {name: max(value, self.needs.get(name, 0)) for name, value in needs.items()} or self.needs
        if expected is None or self.seconds is None:
            self.seconds = None
            return
        self.seconds += expected
        self.longest = max(self.longest, expected)
        self.gpu_seconds += expected * needs.get("gpu", 0)


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
    times = Times(plan)
    packed = {pack.name: pack for pack in packs(plan)}
    asked: dict[tuple[str, str, str], dict[str, int]] = {}

    def needs_of(stage: str, run: RunSpec) -> dict[str, int]:
        key = (stage, run.dataset, run.model)
        if key not in asked:
            asked[key] = job_needs(plan, *key, at_once=RUNS_AT_ONCE if stage == "run_pack" else 1)
        return asked[key]

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
        if job.stage == "run_pack":
            runs = packed[job.subject].runs
            parts = [times.expected(part) for part in run_jobs(plan, runs)]
            known = [part for part in parts if part is not None]
            expected = sum(known) / RUNS_AT_ONCE if len(known) == len(parts) else None
            stage.add(expected, needs_of(job.stage, runs[0]))
        else:
            stage.add(times.expected(job), {} if job.run is None else needs_of(job.stage, job.run))
    return stages


def _kind(benchmark: Path) -> str:
    """What jobs that differ only by study and seed share."""
    return "/".join(part for part in benchmark.parts[2:] if not part.startswith("seed"))


class Times:
    """Recorded times: of the very job, of jobs that differ by study and seed, of other sizes of the same model.

    Args:
        plan: below whose root all records are read.
    """

    def __init__(self, plan: Plan) -> None:
        self.found: dict[str, float] = {}
        kinds: dict[str, list[float]] = defaultdict(list)
        rates: dict[tuple[str, ...], list[float]] = defaultdict(list)
        for path in plan.root.glob("**/benchmarks/*.tsv"):
            with open(path) as handle:
                row = next(csv.DictReader(handle, delimiter="\t"), None)
            if row is None:
                continue
            self.found[str(path)] = float(row["s"])
            kinds[_kind(path)].append(float(row["s"]))
            record = path.parent.parent / "run.json"
            if path.stem == "train" and record.exists():
                values = read_json(record)
                work = values["data"]["training_images"] * values["epochs"]
                rates[tuple(values["run"].split("/")[:2])].append(float(row["s"]) / work)
        self.found |= {kind: statistics.median(values) for kind, values in kinds.items()}
        self.rates = {kind: statistics.median(values) for kind, values in rates.items()}

    def expected(self, job: Job) -> float | None:
        """Seconds, or None where nothing alike was recorded."""
        found = self.found.get(str(job.benchmark)) or self.found.get(_kind(job.benchmark))
        if found is not None or job.run is None or job.stage != "train":
            return found
        rate = self.rates.get((job.run.dataset, job.run.model))
        size = job.run.size
        if rate is None:
            return None
        # The user's own files may not have been counted yet.
        whole = entry_settings(job.run.plan.datasets[job.run.dataset]).counts().get("train")
        images = whole if size == "all" else int(size)
        return None if images is None else rate * images * int(job.run.settings["training"]["epochs"])


def show_plan(study: Path, plan: Plan) -> None:
    """Print the plan: runs, jobs by stage, time, disk, data to fetch by hand."""
    console = Console(soft_wrap=True)
    stages = read_stages(study, plan)
    runs = list(plan.runs())
    trained_on = {run.dataset for run in runs}
    console.print(
        f"[bold]{plan.study}[/bold]: {len(runs)} runs of {len(plan.models)} models on {len(trained_on)} data sets "
        f"at {len(plan.sizes)} sizes, {len(plan.seeds)} seeds each; {len(list(plan.evaluations()))} evaluations"
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
        _show_cluster(console, list(stages.values()))
    prepared = {str(settings["prepared"]): settings for settings in plan.datasets.values()}
    data = sum(prepared_bytes(entry_settings(settings)) for settings in prepared.values())
    _show_scale(console, plan)
    console.print(f"disk: {data / 1e6:,.1f} MB of prepared images; {_size(plan.folder) / 1e6:.1f} MB of results so far")
    _show_data(console, plan)
    shown = [run.id for run in runs[:SHOWN_RUNS]]
    more = f"\n  and {len(runs) - SHOWN_RUNS} more" if len(runs) > SHOWN_RUNS else ""
    console.print("runs:\n  " + "\n  ".join(shown) + more, highlight=False)


def _show_scale(console: Console, plan: Plan) -> None:
    """Work of the networks, known before any time was recorded."""
    from lookalike.scale import RATE, study_scale

    scale = study_scale(plan)
    console.print(
        f"networks: training and embedding take {scale.flops:.1e} operations, {scale.gpu_hours:,.2g} GPU hours at an "
        f"assumed {RATE / 1e12:.0f} TFLOP/s; re-ranking, samples and explanations come on top; "
        f"{scale.weights / 1e9:,.2g} GB of weights",
        highlight=False,
    )


def _show_cluster(console: Console, stages: list[Stage]) -> None:
    """What the due jobs would ask of a cluster."""
    jobs = sum(stage.submitted for stage in stages)
    if not jobs:
        return
    most = {name: max(stage.needs.get(name, 0) for stage in stages) for name in ("mem_mb", "runtime")}
    asked = f"at most {most['mem_mb']:,} MB and {most['runtime']:,} minutes asked for one job"
    if any(stage.seconds is None for stage in stages if stage.submitted):
        times = "GPU hours and longest chain unknown until times are recorded"
    else:
        hours, chain = (
            sum(seconds) / 3600 for seconds in zip(*((s.gpu_seconds, s.longest) for s in stages), strict=True)
        )
        times = f"{hours:.2g} GPU hours, longest chain about {chain:.2g} hours"
    console.print(f"on a cluster: {jobs:,} jobs, {times}; {asked}", highlight=False)


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
    """What a person must do about data and weights before the study can run: one sentence each."""
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
    named: dict[str, list[str]] = {}
    for name, settings in plan.models.items():
        for part, path in named_weights(settings).items():
            named.setdefault(path, []).append(f"models.{name}.{part}.weights")
    found += [
        f"weights file {path} is missing; put it there, or change {', '.join(keys)}."
        for path, keys in named.items()
        if not Path(path).exists()
    ]
    for name, entry in plan.human_studies.items():
        found += [
            f"{entry[key]} is missing; put it there, or change human_studies.{name}.{key}."
            for key in FILES
            if entry[key] and not Path(entry[key]).exists()
        ]
    return [message for message in found if message]


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("**/*") if path.is_file())
