"""One controller a study: what a killed one left behind is taken over, a live one is left alone."""

from __future__ import annotations

import fcntl
import os
import shutil
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
        LookalikeError: another controller of the study is alive, its jobs do not end, SLURM does not answer, or the
            file system has no locks.
    """
    path = _lock_file(plan)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = open(path, "a+")  # noqa: SIM115
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise LookalikeError(
            f"study {plan.study} is being made already ({whose(plan)}); wait for it, or end it and run the command "
            "again."
        ) from None
    except OSError as error:
        raise LookalikeError(
            f"{path} cannot be locked ({error.strerror}), so that two controllers could meet; put results/ on a file "
            "system with locks (Lustre: mounted with `flock`)."
        ) from None
    handle.truncate(0)
    handle.write(f"process {os.getpid()} on {socket.gethostname()}\n")
    handle.flush()
    _held.append(handle)
    if not hasattr(executor, "run_uuid"):  # none of SLURM, which may not even answer here
        return 0
    cancelled = _cancel_orphans(plan)
    # The plugin's own prefix is an option of the command line, the same for every study.
    executor.run_uuid = f"{_job_name(plan)}{executor.run_uuid}"
    # sacct remembers every job but is often switched off; squeue forgets after MinJobAge.
    executor.workflow.executor_settings.status_command = "sacct" if _accounts() else "squeue"
    threading.Thread(target=_watch_waiting_jobs, args=(plan,), daemon=True).start()
    return cancelled


def wrap_slurm_commands(folder: Path) -> None:
    """Put wrappers of SLURM's commands first in PATH, for the executor plugin too, where there is a SLURM."""
    if shutil.which("squeue"):
        os.environ["PATH"] = f"{folder}:{os.environ['PATH']}"


def whose(plan: Plan) -> str:
    """`process 17 on host` where a controller of the study is alive, else empty."""
    path = _lock_file(plan)
    return (path.read_text().strip() or "another process") if _is_held(path) else ""


def clear_stale_locks(root: Path) -> None:
    """Delete what a killed Snakemake left of its lock of this folder, unless any controller of it is alive."""
    if not any(_is_held(path) for path in root.glob("*/.controller")):
        for left in Path(".snakemake/locks").glob("*"):
            left.unlink(missing_ok=True)


def _lock_file(plan: Plan) -> Path:
    return plan.folder / ".controller"


def _is_held(path: Path) -> bool:
    """Whether a live process holds the lock; where that cannot be told, it counts as held."""
    try:
        with open(path, "a") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def _job_name(plan: Plan) -> str:
    """What the names of a study's SLURM jobs begin with; names of studies have no hyphen."""
    return f"lookalike-{plan.study}-"


def _accounts() -> bool:
    """Whether sacct answers."""
    try:
        command, now = ["sacct", "-X", "--noheader"], {**os.environ, "LOOKALIKE_SACCT_PAUSE": "0"}
        done = subprocess.run(command, env=now, capture_output=True, text=True, timeout=120)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


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
        try:
            jobs = _jobs(plan)
        except LookalikeError:
            continue  # the next look may be answered
        for job in jobs:
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
    """The study's SLURM jobs that were submitted from this folder; none where there is no SLURM.

    Raises:
        LookalikeError: SLURM does not answer.
    """
    command = ["squeue", "--me", "--noheader", "--format=" + "|".join(FIELDS.values())]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    except FileNotFoundError:
        return []
    except subprocess.TimeoutExpired:
        done = None
    if done is None or done.returncode:
        raise LookalikeError(
            f"squeue does not answer ({done.stderr.strip() if done else 'for five minutes'}), so that jobs of an "
            f"earlier controller of study {plan.study} may still run; run the command again when it does."
        )
    rows = (dict(zip(FIELDS, map(str.strip, line.split("|")), strict=False)) for line in done.stdout.splitlines())
    name, here = _job_name(plan), str(Path.cwd())
    return [row for row in rows if row.get("folder") == here and row["name"].startswith(name)]


def start_over() -> None:
    """Run this very command again in this process."""
    os.execv(sys.executable, [sys.executable, "-m", "snakemake", *sys.argv[1:]])  # noqa: S606
