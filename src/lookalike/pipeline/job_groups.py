"""Job groups: many short runs in one job of a cluster, each still with its own files, log, record and failure.

The job of a group is a Snakemake of its own, inside the allocation, on the files of its runs. Only the group's record
is an output of that job: what its runs left stays where another run of the group fails, and is not done again.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lookalike.core.errors import LookalikeError
from lookalike.core.files import write_json
from lookalike.core.processes import STOP_SIGNALS
from lookalike.pipeline.jobs import Job, run_jobs
from lookalike.pipeline.stage_table import STAGES, Item
from lookalike.study.plan import Plan, RunSpec

INSIDE = "LOOKALIKE_JOB_GROUP"  # names the group in the environment of its job
SNAKEFILE = "LOOKALIKE_SNAKEFILE"  # and the Snakefile, which is elsewhere where `--directory` was given


@dataclass(frozen=True)
class JobGroup:
    """Runs of one job.

    Attributes:
        plan: The study.
        name: Name of the group, `digits-fc-all-0`: data set, first model, size, number.
        runs: Runs, closed under `backbone_from` and the adversarial patch: a group waits for no other one.
    """

    plan: Plan
    name: str
    runs: tuple[RunSpec, ...]

    @property
    def job(self) -> Job:
        """The job that stands for those of its runs."""
        return Job(self.plan, STAGES["run_job_group"], Item(name=self.name))

    def targets(self) -> list[Path]:
        """The files that tables and figures need of these runs."""
        needed = [run.record for run in self.runs]
        for job in run_jobs(self.plan, self.runs):
            if job.stage.name in ("evaluate", "explain", "analyse"):
                needed += job.outputs
        return needed


def job_groups(plan: Plan) -> Iterator[JobGroup]:
    """The job groups of a study; none where it does not ask for them."""
    if plan.runs_per_job is None:
        return
    for dataset in plan.datasets:
        for models in _families(plan):
            seeds = max(1, plan.runs_per_job // len(models))
            for size in plan.sizes:
                of_cell = [model for model in models if plan.has_cell(dataset, model, size)]
                for start in range(0, len(plan.seeds) if of_cell else 0, seeds):
                    runs = (
                        plan.run_spec(dataset, model, size, seed)
                        for seed in plan.seeds[start : start + seeds]
                        for model in of_cell
                    )
                    yield JobGroup(plan, f"{dataset}-{of_cell[0]}-{size}-{start // seeds}", tuple(runs))


def _families(plan: Plan) -> list[list[str]]:
    """Models that need each other's runs of the same seed."""
    if plan.adversarial_patch is not None:  # that of one model is every model's evaluation set
        return [list(plan.models)]
    families: dict[str, list[str]] = {}
    for name in plan.models:
        families.setdefault(plan.owner_of(name), []).append(name)
    return [sorted(models, key=lambda name: name != root) for root, models in families.items()]


def forget_broken(plan: Plan) -> None:
    """Delete the records of groups whose files are gone, so that the workflow does those anew."""
    for group in job_groups(plan):
        if group.job.output.exists() and not all(path.exists() for path in group.targets()):
            group.job.output.unlink()


def run_job_group(plan: Plan, name: str, cores: int) -> str:
    """Make all files of a group that are missing or out of date, then its record.

    Args:
        plan: The study.
        name: Name of the group.
        cores: CPU cores of the job.

    Raises:
        LookalikeError: There is no such group, or a run of it failed; what the others left stays.
    """
    group = next((group for group in job_groups(plan) if group.name == name), None)
    if group is None:
        names = [group.name for group in job_groups(plan)]
        raise LookalikeError(f"{plan.path} has no job group {name!r}; there are {', '.join(names[:5]) or 'none'}.")
    started = time.perf_counter()
    command = [sys.executable, "-m", "snakemake", *map(str, group.targets()), "--nolock", "--cores", str(cores)]
    command += ["--config", f"study={plan.path}", "--snakefile", os.environ.get(SNAKEFILE, "Snakefile")]
    log = group.job.log
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "ab") as handle:
        inside = subprocess.Popen(command, env={**os.environ, INSIDE: name}, stdout=handle, stderr=handle)
        # It hands the signal to trainings, which write their checkpoints; this process must not be gone before.
        for number in STOP_SIGNALS:
            signal.signal(number, lambda *_: inside.terminate())
        status = inside.wait()
    if status:
        from lookalike.pipeline.status import failures

        lines = failures(plan, group.runs)
        raise LookalikeError(
            f"{len(lines)} jobs failed, what the other runs left stays: {'; '.join(lines)}"
            if lines
            else f"not all runs could be finished, see {log}; what they left stays"
        )
    seconds = time.perf_counter() - started
    write_json(group.job.output, {"runs": [run.id for run in group.runs], "seconds": seconds})
    return f"{len(group.runs)} runs"
