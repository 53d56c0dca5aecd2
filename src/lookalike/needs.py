"""What jobs ask of a cluster: as the study says, else by their data."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from typing import Any

from lookalike.data.registry import DATA_SETS
from lookalike.data.settings import DataSettings, entry_settings, prepared_bytes
from lookalike.plan import Plan
from lookalike.reporting.names import METHODS_WITH_PATCHES

ON_GPU = (
    "train",
    "make_patch",
    "precompute_support",
    "embed_queries",
    "score_counterfactuals",
    "score_correspondences",
    "show_prototypes",
    "run_pack",
)
RUNS_AT_ONCE = 4  # of a pack, unless the profile gives it other threads
FEATURE_BYTES = 4 * 2048  # an image's, of the widest backbone
LONG = ("train", "make_patch", "score_counterfactuals", "score_correspondences", "run_pack")


def job_needs(
    plan: Plan,
    stage: str,
    dataset: str,
    model: str,
    attempt: int = 1,
    at_once: int = 1,
    most: Mapping[str, int] | None = None,
) -> dict[str, int]:
    """Memory (mem_mb), minutes (runtime) and GPUs (gpu) of a job.

    Memory and time are doubled once after a failure. What the study does not say, and what is doubled, is cut to what
    the cluster has: it would refuse the job.

    Args:
        plan: the study.
        stage: of `ON_GPU`, `evaluate` or `explain`.
        dataset: of the run.
        model: of the run.
        attempt: 1 for the first.
        at_once: runs that a pack works on at a time.
        most: of a cluster, as `largest_asked` tells.
    """
    said = {**plan.resources.get(stage, {}), **plan.resources.get(f"{stage}/{model}", {})}
    long = stage in LONG or (stage == "explain" and looks_again(plan.models[model]))
    gallery = int(1000 * plan.models[model].get("inference", {}).get("gallery_gb", 0))
    found = {**_expected(stage, entry_settings(plan.datasets[dataset]), at_once, long, gallery), **said}
    if stage == "train" and "gpu" not in said:
        found["gpu"] = (plan.models[model].get("training") or {}).get("devices", 1)
    for name in ("mem_mb", "runtime"):
        found[name] *= min(attempt, 2)
        if most and name in most:
            found[name] = min(found[name], max(most[name], said.get(name, 0)))
    return found


def looks_again(settings: Mapping[str, Any]) -> bool:
    """Whether explaining a model needs its network, and so a GPU where there is one."""
    return settings["method"] in METHODS_WITH_PATCHES or bool(settings.get("inference", {}).get("heat_maps"))


def _expected(stage: str, entry: DataSettings, at_once: int, long: bool, gallery: int) -> dict[str, int]:
    photographs = DATA_SETS[entry.source].form == "files"
    # Small images are held as a whole, photographs are read as they are needed.
    megabytes = 4000 if photographs else 2000 + 2 * prepared_bytes(entry) // 1_000_000
    if photographs and stage != "train":
        # Features of the training images: as they come, of unit length, and those of the classes that compete.
        megabytes += gallery + 3 * entry.counts().get("train", 0) * FEATURE_BYTES // 1_000_000
    minutes = (240 if long else 60) * (6 if photographs else 1)
    on_gpu = stage in ON_GPU or (stage == "explain" and long)
    return {"mem_mb": megabytes * at_once, "runtime": minutes, "gpu": int(on_gpu)}


def largest_asked() -> dict[str, int]:
    """The most that a job of SLURM can have: mem_mb of the largest node, runtime of the longest partition.

    What has no limit is left out; all is where SLURM does not answer.
    """
    try:
        command = ["sinfo", "--noheader", "--format=%m|%l"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    rows = [line.strip().split("|") for line in done.stdout.splitlines() if "|" in line]
    if not rows:
        return {}
    found = {"mem_mb": max(int(re.sub(r"\D", "", size)) for size, _ in rows)}
    limits = [_minutes(limit) for _, limit in rows]
    finite = [limit for limit in limits if limit is not None]
    return found | {"runtime": max(finite)} if len(finite) == len(limits) else found


def _minutes(limit: str) -> int | None:
    """Minutes of SLURM's `days-hours:minutes:seconds`, days and hours optional; None where there is no limit."""
    if not re.fullmatch(r"[\d:-]+", limit):
        return None
    days, _, clock = limit.rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    hours, minutes = ([0, 0, *parts[:-1]])[-2:]
    return int(days or 0) * 1440 + hours * 60 + minutes
