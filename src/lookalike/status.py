"""Where a study stands: what is done, runs now, failed and why, and the command that does it again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from lookalike.activity import Activity, read_activity
from lookalike.jobs import Job, run_jobs
from lookalike.plan import Plan, RunSpec
from lookalike.tracking.spool import read_spool

STATES = ("done", "running", "failed", "waiting")
SHOWN = 20  # jobs of one kind that are named


def state_of(job: Job) -> tuple[str, Activity | None]:
    """One of `STATES`, and what the job's log tells; a job that was killed has failed."""
    if job.output.exists():
        return "done", None
    told = read_activity(job.log)
    if told is None or told.state == "done":  # done, and its output deleted since
        return "waiting", None
    return ("running" if told.state == "running" else "failed"), told


def failures(plan: Plan, runs: Iterable[RunSpec] | None = None) -> list[str]:
    """One line for each failed job of some runs, or of all: what it was, why it failed, and its log."""
    lines = []
    for job in run_jobs(plan, plan.runs() if runs is None else runs):
        state, told = state_of(job)
        if state == "failed" and told is not None:
            lines.append(f"{job.stage} {job.subject}: {_reason(told)} (log: {job.log})")
    return lines


def _reason(told: Activity) -> str:
    if told.state == "failed":
        return told.said
    return f"ended without a word, killed perhaps, on {told.process or 'an unknown machine'}; last line: {told.said}"


def show_failures(plan: Plan) -> None:
    """Print the failed jobs, for the end of a workflow that failed."""
    lines = failures(plan)
    console = Console(soft_wrap=True, stderr=True, highlight=False)
    for line in lines[:SHOWN]:
        console.print(f"failed: {line}", markup=False)
    if len(lines) > SHOWN:
        console.print(f"and {len(lines) - SHOWN} more; `lookalike status {plan.path}` lists all")


def show_status(plan: Plan, study: Path) -> None:
    """Print the state of all jobs of runs, what is out of date, and what to do.

    Args:
        plan: the study, resolved.
        study: its YAML, or the config.json beside its plan.
    """
    console = Console(soft_wrap=True, highlight=False)
    counts: dict[str, Counter[str]] = {}
    found: dict[str, list[tuple[Job, Activity]]] = {"running": [], "failed": []}
    for job in run_jobs(plan, plan.runs()):
        state, told = state_of(job)
        counts.setdefault(job.stage, Counter())[state] += 1
        if told is not None:
            found[state].append((job, told))
    console.print(f"[bold]{plan.study}[/bold]: {len(list(plan.runs()))} runs")
    table = Table("stage", *STATES, box=None, header_style="bold")
    for stage, count in counts.items():
        table.add_row(stage, *(str(count[state] or "") for state in STATES))
    console.print(table)
    for job, told in found["running"][:SHOWN]:
        console.print(f"running: {job.stage} {job.subject} on {told.process}{_progress(job)}", markup=False)
    for job, told in found["failed"]:
        console.print(f"failed: {job.stage} {job.subject}: {_reason(told)}", markup=False)
        console.print(f"        log: {job.log}\n        again: lookalike {job.command}", markup=False)
    _show_due(console, plan, study)


def _progress(job: Job) -> str:
    """The last epoch of a training that leaves its metrics in a file."""
    spooled = read_spool(job.run) if job.run is not None and job.stage == "train" else None
    if spooled is None or not spooled.history:
        return ""
    last = spooled.history[-1]
    total = job.run.settings["training"]["epochs"] if job.run is not None else "?"
    return f", epoch {last['epoch']} of {total}: loss {last['loss']:.4f}, training accuracy {last['accuracy']:.2%}"


def _show_due(console: Console, plan: Plan, study: Path) -> None:
    from lookalike.forecast import read_stages

    stages = read_stages(study, plan)
    for name, stage in stages.items():
        if stage.jobs > stage.done:
            why = ", ".join(f"{reason} ({count})" for reason, count in stage.reasons.items())
            console.print(f"due: {name}, {stage.jobs - stage.done} of {stage.jobs}: {why}", markup=False)
    if all(stage.jobs == stage.done for stage in stages.values()):
        console.print("everything is up to date")
