"""What jobs ask of a cluster: as the study says, else by their data."""

from __future__ import annotations

from lookalike.data.registry import DATA_SETS
from lookalike.data.settings import DataSettings, entry_settings, prepared_bytes
from lookalike.plan import Plan

ON_GPU = ("train", "make_patch", "precompute_support", "run_pack")
RUNS_AT_ONCE = 4  # of a pack, unless the profile gives it other threads
LONG = ("train", "make_patch", "run_pack")


def job_needs(plan: Plan, stage: str, dataset: str, model: str, attempt: int = 1) -> dict[str, int]:
    """Memory (mem_mb), minutes (runtime) and GPUs (gpu) of a job; memory and time are doubled once after a failure."""
    found = {
        **_expected(stage, entry_settings(plan.datasets[dataset])),
        **plan.resources.get(stage, {}),
        **plan.resources.get(f"{stage}/{model}", {}),
    }
    return {name: value if name == "gpu" else value * min(attempt, 2) for name, value in found.items()}


def _expected(stage: str, entry: DataSettings) -> dict[str, int]:
    photographs = DATA_SETS[entry.source].form == "files"
    # Small images are held as a whole, photographs are read as they are needed.
    megabytes = 4000 if photographs else 2000 + 2 * prepared_bytes(entry) // 1_000_000
    minutes = (240 if stage in LONG else 60) * (6 if photographs else 1)
    if stage == "run_pack":
        megabytes *= RUNS_AT_ONCE
    return {"mem_mb": megabytes, "runtime": minutes, "gpu": int(stage in ON_GPU)}
