"""One controller a study: what a killed one left behind is taken over, a live one is left alone."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

from lookalike.core.errors import LookalikeError
from lookalike.core.locks import is_locked, locked, try_lock
from lookalike.core.processes import ask_slurm, this_process
from lookalike.study.plan import Plan

DATA_RULES = ("fetch_data", "prepare_data", "filter_data", "collect_filters")  # whose files all studies share
LOCKS = Path("results/data/.locks")
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


def lock_study(plan: Plan, executor: Any) -> int:
    """Hold the study until this process ends, and cancel the SLURM jobs of a controller that was killed.

    Their trainings keep a checkpoint when they are cancelled, and go on from it.

    Args:
        plan: The study.
        executor: Executor of Snakemake; one of SLURM names its jobs after the study from now on.

    Returns:
        How many jobs were cancelled. What they finished meanwhile is not in a plan of before.

    Raises:
        LookalikeError: Another controller of the study is alive, its jobs do not end, SLURM does not answer, or the
            file system has no locks.
    """
    path = _lock_file(plan)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle = try_lock(path)
    except OSError as error:
        raise LookalikeError(
            f"{path} cannot be locked ({error.strerror}), so that two controllers could meet; put results/ on a file "
            "system with locks (Lustre: mounted with `flock`)."
        ) from None
    if handle is None:
        raise LookalikeError(
            f"study {plan.name} is being run already ({lock_holder(plan)}); wait for it, or end it and run the command "
            "again."
        )
    handle.truncate(0)
    handle.write(f"process {this_process()}\n")
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


def lock_holder(plan: Plan) -> str:
    """`process host:17` where a controller of the study is alive, else empty."""
    path = _lock_file(plan)
    return (path.read_text().strip() or "another process") if is_locked(path) else ""


def clear_marks(root: Path) -> None:
    """Delete what a killed Snakemake left in `.snakemake`, unless any controller of this folder is alive.

    Its marks of incomplete files made the next call do a job or two, and then call the study done: the mark of the
    tracking state forced a rule whose output others take as `ancient`, which hid what was missing behind it. Our
    outputs are whole or absent, so that a file that is there needs no such mark.
    """
    if not any(is_locked(path) for path in root.glob("*/.controller")):
        for folder in (".snakemake/locks", ".snakemake/incomplete"):
            for left in Path(folder).rglob("*"):
                if not left.is_dir():
                    left.unlink(missing_ok=True)


def check_targets(jobs: Iterable[Any]) -> None:
    """Raise where a workflow ends well and a file that it was asked for is not there.

    Args:
        jobs: The jobs that Snakemake was asked for: rules without outputs of their own stand for their inputs.

    Raises:
        LookalikeError: The message names a missing file.
    """
    files = [str(file) for job in jobs for file in (job.output or job.input)]
    missing = [file for file in files if not os.path.exists(file)]
    if missing:
        raise LookalikeError(
            f"the workflow ended, but {len(missing)} of {len(files)} files that were asked for are not there, "
            f"{missing[0]} for one; run the same command again."
        )


def share_data(jobs: Iterable[Any]) -> str:
    """Hold the data sets that this workflow prepares until they are there; wait for those that another one prepares.

    Args:
        jobs: The jobs that are due.

    Returns:
        What was waited for, in a few words: it is there now, and the plan of before out of date. Empty for nothing.
    """
    held: dict[tuple[Path, ...], IO[str]] = {}
    waited = []
    for job in jobs:
        if job.rule.name not in DATA_RULES:
            continue
        outputs = tuple(Path(str(file)) for file in job.output)
        path = LOCKS / "-".join(outputs[0].parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = try_lock(path)
        if handle is None:
            print(f"{outputs[0].parent} is being prepared by {path.read_text().strip()}; waiting", file=sys.stderr)
            with locked(path):
                waited.append(str(outputs[0].parent))
            continue
        handle.truncate(0)
        handle.write(f"process {this_process()}\n")
        handle.flush()
        held[outputs] = handle
    if waited:
        for handle in held.values():
            handle.close()
    elif held:
        threading.Thread(target=_release_data, args=(held,), daemon=True).start()
    return ", ".join(waited)


def _release_data(held: dict[tuple[Path, ...], IO[str]]) -> None:
    """Give the locks of data sets back, each when all its files are there anew."""
    before = {outputs: _written(outputs) for outputs in held}
    while held:
        time.sleep(0.5)
        for outputs in list(held):
            if (now := _written(outputs)) is not None and now != before[outputs]:
                held.pop(outputs).close()


def _written(outputs: tuple[Path, ...]) -> list[int] | None:
    """Times of all files; None where one is missing."""
    try:
        return [path.stat().st_mtime_ns for path in outputs]
    except FileNotFoundError:
        return None


def _lock_file(plan: Plan) -> Path:
    return plan.folder / ".controller"


def _job_name(plan: Plan) -> str:
    """The words that the names of a study's SLURM jobs begin with; names of studies have no hyphen."""
    return f"lookalike-{plan.name}-"


def _accounts() -> bool:
    """Whether sacct answers."""
    now = {"LOOKALIKE_SACCT_PAUSE": "0"}
    answer = ask_slurm("sacct", "-X", "--noheader", seconds=120, environment=now)
    return answer is not None and answer.returncode == 0


def _cancel_orphans(plan: Plan) -> int:
    jobs = [job["id"] for job in _jobs(plan)]
    if not jobs:
        return 0
    ask_slurm("scancel", *jobs)
    deadline = time.monotonic() + CANCEL_SECONDS
    while left := _jobs(plan):
        if time.monotonic() > deadline:
            raise LookalikeError(
                f"SLURM jobs {', '.join(job['id'] for job in left)} of an earlier controller of study {plan.name} do "
                "not end; look at `squeue --me`, and run the command again when they are gone."
            )
        time.sleep(1)
    return len(jobs)


def _watch_waiting_jobs(plan: Plan) -> None:
    """Shorten jobs that ask for more time than their partition has, and name others that will never start.

    SLURM lets both wait for ever, and Snakemake waits with them without a word.
    """
    reported: set[str] = set()
    while True:
        time.sleep(WATCH_SECONDS)
        try:
            jobs = _jobs(plan)
        except LookalikeError:
            continue  # the next look may be answered
        for job in jobs:
            if job["reason"] in NEVER and job["id"] not in reported:
                reported.add(job["id"])
                print(_shorten(job) or _warning(job), file=sys.stderr, flush=True)


def _shorten(job: dict[str, str]) -> str:
    """Give a job its partition's time limit; empty where that is not what keeps it waiting."""
    if job["reason"] != "PartitionTimeLimit":
        return ""
    answer = ask_slurm("sinfo", "--noheader", f"--partition={job['partition']}", "--format=%l")
    limit = answer.stdout.split() if answer is not None else []
    update = ask_slurm("scontrol", "update", f"JobId={job['id']}", f"TimeLimit={limit[0]}") if limit else None
    if update is None or update.returncode or update.stdout or update.stderr:
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


def _jobs(plan: Plan) -> list[dict[str, str]]:
    """The study's SLURM jobs that were submitted from this folder; none where there is no SLURM.

    Raises:
        LookalikeError: SLURM does not answer.
    """
    if not shutil.which("squeue"):
        return []
    answer = ask_slurm("squeue", "--me", "--noheader", "--format=" + "|".join(FIELDS.values()), seconds=300)
    if answer is None or answer.returncode:
        raise LookalikeError(
            f"squeue does not answer ({answer.stderr.strip() if answer else 'for five minutes'}), so that jobs of an "
            f"earlier controller of study {plan.name} may still run; run the command again when it does."
        )
    rows = (dict(zip(FIELDS, map(str.strip, line.split("|")), strict=False)) for line in answer.stdout.splitlines())
    name, folder = _job_name(plan), str(Path.cwd())
    return [row for row in rows if row.get("folder") == folder and row["name"].startswith(name)]


def start_over() -> None:
    """Run this very command again in this process."""
    os.execv(sys.executable, [sys.executable, "-m", "snakemake", *sys.argv[1:]])  # noqa: S606
