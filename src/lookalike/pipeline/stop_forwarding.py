"""Tell the work of a SLURM job that it is to end.

SLURM sends its warning to the first process of a job step (with proctrack/cgroup, to no other). That is Snakemake,
which waits for its jobs to finish and tells them nothing; a training that is told writes its checkpoint.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from pathlib import Path

SHELLS = ("bash", "sh", "dash")  # one that is killed would end its job before the work has kept anything


def forward_stop_signals() -> None:
    """From now on hand SIGTERM to all descendants of this process but shells, besides what its own handler does."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    threading.Thread(target=_forward, args=(read,), daemon=True).start()


def _forward(read: int) -> None:
    while number := os.read(read, 1):
        if number[0] == signal.SIGTERM:
            for pid in descendants(os.getpid()):
                with contextlib.suppress(OSError):
                    if Path(f"/proc/{pid}/comm").read_text().strip() not in SHELLS:
                        os.kill(pid, signal.SIGTERM)


def descendants(ancestor: int) -> list[int]:
    """Processes that this one started, and theirs."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            pid = int(entry.name)
            # After the name in brackets, which may hold anything: state, parent.
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(pid)
    descended: list[int] = []
    waiting = [ancestor]
    while waiting:
        born = children.get(waiting.pop(), [])
        descended += born
        waiting += born
    return descended
