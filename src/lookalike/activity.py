"""What a job does or did, told by its log: running, done, failed or killed."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

STARTED, DONE, FAILED = "started", "done", "failed"  # first words of the lines that `Work` writes
LINE = re.compile(rf"^\S+ \S+ (?:INFO|ERROR) ({STARTED}|{DONE}|{FAILED}): (.*)$", re.MULTILINE)
TAIL = 64 << 10  # bytes at the end of a log that hold its last start


@dataclass(frozen=True)
class Activity:
    """The last attempt of a job.

    Attributes:
        state: running, done, failed, or killed where it ended without a word.
        said: the reason or result; for the others the last line of the log.
        process: where it ran, as `this_process` names it.
    """

    state: str
    said: str
    process: str


def this_process() -> str:
    """`host:pid`, inside a SLURM job `host:pid@job`."""
    job = os.environ.get("SLURM_JOB_ID")
    return f"{socket.gethostname()}:{os.getpid()}" + (f"@{job}" if job else "")


def is_alive(process: str) -> bool:
    """Whether a process still runs: one of this host by its number, of another one by its SLURM job.

    Those of other hosts without a SLURM job count as alive, and so does all that SLURM, not answering, may still run.
    """
    place, _, job = process.partition("@")
    host, _, pid = place.rpartition(":")
    if host == socket.gethostname():
        return Path(f"/proc/{pid}").exists()
    jobs = live_slurm_jobs() if job else None
    return jobs is None or job in jobs


@cache
def live_slurm_jobs() -> frozenset[str] | None:
    """Ids of this user's SLURM jobs that have not ended; None where SLURM does not answer. Asked once a process."""
    try:
        command = ["squeue", "--me", "--noheader", "--format=%A"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return frozenset(done.stdout.split()) if done.returncode == 0 else None


def read_activity(log: Path) -> Activity | None:
    """The last attempt that a log tells of; None where there is none."""
    try:
        with open(log, "rb") as handle:
            handle.seek(max(0, log.stat().st_size - TAIL))
            text = handle.read().decode(errors="replace")
    except FileNotFoundError:
        return None
    process, state, said = "", "", ""
    for match in LINE.finditer(text):
        kind, rest = match.groups()
        if kind == STARTED:
            process, state, said = rest, "", ""
        else:
            state, said = kind, rest
    if state:
        return Activity(state, said, process)
    lines = text.strip().splitlines() or [""]
    return Activity("running" if process and is_alive(process) else "killed", lines[-1], process)
