"""What jobs ask of a cluster: as the study says, else by their data."""

from __future__ import annotations

import subprocess
from functools import cache

from lookalike.data.registry import DATA_SETS
from lookalike.data.settings import DataSettings, entry_settings, prepared_bytes
from lookalike.plan import Plan

ON_GPU = ("train", "make_patch", "precompute_support", "run_pack")
RUNS_AT_ONCE = 4  # of a pack, unless the profile gives it other threads
LONG = ("train", "make_patch", "run_pack")


def job_needs(plan: Plan, stage: str, dataset: str, model: str, attempt: int = 1) -> dict[str, int]:
    """Memory (mem_mb), minutes (runtime) and GPUs (gpu) of a job; memory and time are doubled once after a failure.

    Not beyond the largest node's memory: SLURM would refuse the job. The controller cuts time to the partition's.
    """
    found = {
        **_expected(stage, entry_settings(plan.datasets[dataset])),
        **plan.resources.get(stage, {}),
        **plan.resources.get(f"{stage}/{model}", {}),
    }
    if attempt > 1:
        found["runtime"] *= 2
        found["mem_mb"] = min(2 * found["mem_mb"], max(largest_memory() or 2 * found["mem_mb"], found["mem_mb"]))
    return found


@cache
def largest_memory() -> int | None:
    """Memory of the largest node of the cluster in MB; None where there is no SLURM."""
    try:
        command = ["sinfo", "--noheader", "--format=%m"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return max((int(size.rstrip("+")) for size in done.stdout.split()), default=None)


def _expected(stage: str, entry: DataSettings) -> dict[str, int]:
    photographs = DATA_SETS[entry.source].form == "files"
    # Small images are held as a whole, photographs are read as they are needed.
    megabytes = 4000 if photographs else 2000 + 2 * prepared_bytes(entry) // 1_000_000
    minutes = (240 if stage in LONG else 60) * (6 if photographs else 1)
    if stage == "run_pack":
        megabytes *= RUNS_AT_ONCE
    return {"mem_mb": megabytes, "runtime": minutes, "gpu": int(stage in ON_GPU)}
