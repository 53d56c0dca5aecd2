"""Where a study stands: what is done, runs now, failed and why, and the command that does it again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from pathlib import Path

from rich.console import Console
from rich.table import Table

from lookalike.pipeline.job_log import LastAttempt, read_job_log
from lookalike.pipeline.jobs import Job, run_jobs
from lookalike.study.plan import Plan, RunSpec
from lookalike.tracking.spool import read_spool

STATES = ("done", "running", "failed", "waiting")
SHOWN = 20  # jobs of one kind that are named


def state_of(job: Job) -> tuple[str, LastAttempt | None]:
    """One of `STATES`, and what the job's log tells; a job that was killed has failed."""
    if job.output.exists():
        return "done", None
    attempt = read_job_log(job.log)
    if attempt is None or attempt.state == "done":  # done, and its output deleted since
        return "waiting", None
    return ("running" if attempt.state == "running" else "failed"), attempt


def failures(plan: Plan, runs: Collection[RunSpec] | None = None) -> list[str]:
    """One line for each failed job of some runs, or of all: what it was, why it failed, and its log."""
    lines = []
    for job in run_jobs(plan, runs):
        state, attempt = state_of(job)
        if state == "failed" and attempt is not None:
            lines.append(f"{job.name}: {_reason(attempt)} (log: {job.log})")
    return lines


def _reason(attempt: LastAttempt) -> str:
    if attempt.state == "failed":
        return attempt.text
    where = attempt.process or "an unknown machine"
    return f"ended without a word, killed perhaps, on {where}; last line: {attempt.text}"


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
        plan: The study, resolved.
        study: Path of its YAML, or of its plan.json.
    """
    console = Console(soft_wrap=True, highlight=False)
    counts: dict[str, Counter[str]] = {}
    attempts: dict[str, list[tuple[Job, LastAttempt]]] = {"running": [], "failed": []}
    for job in run_jobs(plan):
        state, attempt = state_of(job)
        counts.setdefault(job.stage.name, Counter())[state] += 1
        if attempt is not None:
            attempts[state].append((job, attempt))
    console.print(f"[bold]{plan.name}[/bold]: {len(list(plan.runs()))} runs")
    table = Table("stage", *STATES, box=None, header_style="bold")
    for stage, count in counts.items():
        table.add_row(stage, *(str(count[state] or "") for state in STATES))
    console.print(table)
    for job, attempt in attempts["running"][:SHOWN]:
        console.print(f"running: {job.name} on {attempt.process}{_progress(job)}", markup=False)
    for job, attempt in attempts["failed"]:
        console.print(f"failed: {job.name}: {_reason(attempt)}", markup=False)
        console.print(f"        log: {job.log}\n        again: {job.command}", markup=False)
    _show_due(console, plan, study)


def _progress(job: Job) -> str:
    """The last epoch of a training that leaves its metrics in a file."""
    run = job.item.run
    spooled = read_spool(run) if run is not None and job.stage.name == "train" else None
    if run is None or spooled is None or not spooled.history:
        return ""
    last, total = spooled.history[-1], job.plan.settings_of(run).own_training.epochs
    return f", epoch {last['epoch']} of {total}: loss {last['loss']:.4f}, training accuracy {last['accuracy']:.2%}"


def _show_due(console: Console, plan: Plan, study: Path) -> None:
    from lookalike.pipeline.dry_run import read_states, summary_of

    with summary_of(study) as summary:
        states = read_states(study, plan, summary)
    for name, state in states.items():
        if state.jobs > state.done:
            why = ", ".join(f"{reason} ({count})" for reason, count in state.reasons.items())
            console.print(f"due: {name}, {state.jobs - state.done} of {state.jobs}: {why}", markup=False)
    if all(state.jobs == state.done for state in states.values()):
        console.print("everything is up to date")
