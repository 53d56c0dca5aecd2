"""One controller a study: what a killed one left behind is taken over, a live one is left alone."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any

from lookalike.errors import LookalikeError
from lookalike.plan import Plan

CANCEL_SECONDS = 120
WATCH_SECONDS = 15
FIELDS = {
    "id": "%A",
    "name": "%j",
    "reason": "%r",
    "time": "%l",
    "memory": "%m",
    "cpus": "%C",
    "partition": "%P",
    "comment": "%k",
    "folder": "%Z",
}
# Reasons of waiting that no time mends.
NEVER = frozenset(
    {
        "PartitionTimeLimit",
        "PartitionNodeLimit",
        "PartitionConfig",
        "BadConstraints",
        "InvalidAccount",
        "InvalidQOS",
        "AssocMaxWallDurationPerJobLimit",
        "QOSMaxWallDurationPerJobLimit",
        "AssocMaxCpuPerJobLimit",
        "QOSMaxCpuPerJobLimit",
        "AssocMaxMemPerJob",
        "QOSMaxMemoryPerJob",
        "QOSMaxGRESPerJob",
        "AssocMaxGRESPerJob",
    }
)
_held: list[IO[str]] = []  # the kernel drops the lock when this process ends, however it ends


def take_control(plan: Plan, executor: Any) -> int:
    """Hold the study until this process ends, and cancel the SLURM jobs of a controller that was killed.

    Their trainings keep a checkpoint when they are cancelled, and go on from it.

    Args:
        plan: the study.
        executor: Snakemake's; one of SLURM names its jobs after the study from now on.

    Returns:
        How many jobs were cancelled. What they finished meanwhile is not in a plan made before.

    Raises:
        LookalikeError: another controller of the study is alive, or its jobs do not end.
    """
    path = plan.folder / ".controller"
    handle = open(path, "a+")  # noqa: SIM115
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        handle.seek(0)
        raise LookalikeError(
            f"study {plan.study} is being made already ({handle.read().strip() or 'by another process'}); wait for it, "
            "or end it and run the command again."
        ) from None
    handle.truncate(0)
    handle.write(f"process {os.getpid()} on {socket.gethostname()}\n")
    handle.flush()
    _held.append(handle)
    cancelled = _cancel_orphans(plan)
    if hasattr(executor, "run_uuid"):
        # The plugin's own prefix is an option of the command line, the same for every study.
        executor.run_uuid = f"{job_name(plan)}_{executor.run_uuid}"
        threading.Thread(target=_watch_waiting_jobs, args=(plan,), daemon=True).start()
    return cancelled


def job_name(plan: Plan) -> str:
    """What the names of a study's SLURM jobs begin with."""
    return f"lookalike-{plan.study}"[:50]


def _cancel_orphans(plan: Plan) -> int:
    jobs = [job["id"] for job in _jobs(plan)]
    if not jobs:
        return 0
    subprocess.run(["scancel", *jobs], capture_output=True)
    deadline = time.monotonic() + CANCEL_SECONDS
    while left := _jobs(plan):
        if time.monotonic() > deadline:
            raise LookalikeError(
                f"SLURM jobs {', '.join(job['id'] for job in left)} of an earlier controller of study {plan.study} do "
                "not end; look at `squeue --me`, and run the command again when they are gone."
            )
        time.sleep(1)
    return len(jobs)


def _watch_waiting_jobs(plan: Plan) -> None:
    """Shorten jobs that ask for more time than their partition has, and name others that will never start.

    SLURM lets both wait for ever, and Snakemake waits with them without a word.
    """
    told: set[str] = set()
    while True:
        time.sleep(WATCH_SECONDS)
        for job in _jobs(plan):
            if job["reason"] in NEVER and job["id"] not in told:
                told.add(job["id"])
                print(_shorten(job) or _warning(job), file=sys.stderr, flush=True)


def _shorten(job: dict[str, str]) -> str:
    """Give a job its partition's time limit; empty where that is not what keeps it waiting."""
    if job["reason"] != "PartitionTimeLimit":
        return ""
    limit = _said_by("sinfo", "--noheader", f"--partition={job['partition']}", "--format=%l").split()
    if not limit or _said_by("scontrol", "update", f"JobId={job['id']}", f"TimeLimit={limit[0]}"):
        return ""
    return (
        f"SLURM job {job['id']} ({job['comment']}) asked for {job['time']}, partition {job['partition']} has "
        f"{limit[0]}: shortened. A training that needs longer goes on from its checkpoint."
    )


def _warning(job: dict[str, str]) -> str:
    return (
        f"warning: SLURM job {job['id']} ({job['comment']}) will never start: {job['reason']}. It asks for "
        f"{job['time']}, {job['memory']} of memory and {job['cpus']} CPUs in partition {job['partition']}. Press "
        "Ctrl-C, ask for less in `resources:` of the study or name another partition in the profile, and run again."
    )


def _said_by(*command: str) -> str:
    """What a command of SLURM printed, mistakes included; a failure without a word is one too."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return done.stdout + done.stderr or "failed" * bool(done.returncode)


def _jobs(plan: Plan) -> list[dict[str, str]]:
    """The study's SLURM jobs that were submitted from this folder; none where there is no SLURM."""
    command = ["squeue", "--me", "--noheader", "--format=" + "|".join(FIELDS.values())]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return []
    rows = (dict(zip(FIELDS, map(str.strip, line.split("|")), strict=False)) for line in done.stdout.splitlines())
    name, here = job_name(plan) + "_", str(Path.cwd())
    return [row for row in rows if row.get("folder") == here and row["name"].startswith(name)]


def start_over() -> None:
    """Run this very command again in this process."""
    os.execv(sys.executable, [sys.executable, "-m", "snakemake", *sys.argv[1:]])  # noqa: S606
