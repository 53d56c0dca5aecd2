"""What a job does or did, told by its log: running, done, failed or killed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from lookalike.core.processes import is_alive

STARTED, DONE, FAILED = "started", "done", "failed"  # first words of the lines that `StageRunner` writes
LINE = re.compile(rf"^\S+ \S+ (?:INFO|ERROR) ({STARTED}|{DONE}|{FAILED}): (.*)$", re.MULTILINE)
TAIL = 64 << 10  # bytes at the end of a log that hold its last start


@dataclass(frozen=True)
class LastAttempt:
    """The last attempt of a job.

    Attributes:
        state: Word running, done, failed, or killed where it ended without a word.
        text: Reason or result; for the others the last line of the log.
        process: Process it ran in, as `this_process` names it.
    """

    state: str
    text: str
    process: str


def read_job_log(log: Path) -> LastAttempt | None:
    """The last attempt that a log tells of; None where there is none."""
    try:
        with open(log, "rb") as handle:
            handle.seek(max(0, log.stat().st_size - TAIL))
            log_text = handle.read().decode(errors="replace")
    except FileNotFoundError:
        return None
    process, state, text = "", "", ""
    for match in LINE.finditer(log_text):
        kind, rest = match.groups()
        if kind == STARTED:
            process, state, text = rest, "", ""
        else:
            state, text = kind, rest
    if state:
        return LastAttempt(state, text, process)
    lines = log_text.strip().splitlines() or [""]
    return LastAttempt("running" if process and is_alive(process) else "killed", lines[-1], process)
