"""Processes of this user, on this machine and in SLURM: how they are named, whether they live, how they are stopped."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from functools import cache
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

# SIGTERM and SIGUSR1 are SLURM's (scancel, preemption, the warning before the time limit), SIGINT is Ctrl-C.
STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
SLURM_SECONDS = 60


def _ignore(number: int, frame: FrameType | None) -> None:
    """Do nothing; unlike SIG_IGN it is not passed on to programs that the process starts."""


class StopRequest:
    """While entered, remembers a signal that asks to stop instead of dying from it.

    Left with an error after such a signal, the process is about to end: a second SIGTERM or SIGUSR1 does not kill it
    while it still writes down why. SLURM and the Snakemake inside a job both send one.

    Attributes:
        signal: Name of the signal, empty until one came.
    """

    def __init__(self) -> None:
        self.signal = ""
        self._before: dict[int, Any] = {}

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self.signal = signal.Signals(number).name

    def __enter__(self) -> StopRequest:
        self._before = {number: signal.signal(number, self._remember) for number in STOP_SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ends = error is not None and self.signal
        for number, handler in self._before.items():
            signal.signal(number, _ignore if ends and number != signal.SIGINT else handler)


def this_process() -> str:
    """`host:pid`, inside a SLURM job `host:pid@job`."""
    job = os.environ.get("SLURM_JOB_ID")
    return f"{socket.gethostname()}:{os.getpid()}" + (f"@{job}" if job else "")


def is_alive(process: str) -> bool:
    """Whether a process still runs: one of this host by its number, of another one by its SLURM job.

    Processes of other hosts without a SLURM job count as alive, and so does all that SLURM, not answering, may still
    run.

    Args:
        process: Name as `this_process` gives it.
    """
    place, _, job = process.partition("@")
    host, _, pid = place.rpartition(":")
    if host == socket.gethostname():
        return Path(f"/proc/{pid}").exists()
    jobs = _live_slurm_jobs() if job else None
    return jobs is None or job in jobs


@cache
def _live_slurm_jobs() -> frozenset[str] | None:
    """Ids of this user's SLURM jobs that have not ended; None where SLURM does not answer. Asked once a process."""
    answer = ask_slurm("squeue", "--me", "--noheader", "--format=%A")
    return None if answer is None or answer.returncode else frozenset(answer.stdout.split())


def ask_slurm(
    *command: str, seconds: float = SLURM_SECONDS, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str] | None:
    """Run a command of SLURM; None where it is not installed or does not answer in time.

    Args:
        command: The command and its arguments.
        seconds: Longest time to wait.
        environment: Variables that replace those of this process.
    """
    try:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=seconds, env={**os.environ, **(environment or {})}
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
