"""What jobs ask of a cluster: as the study says, else by their data."""

from __future__ import annotations

import re
from collections.abc import Mapping

from lookalike.contracts.settings import MethodSettings
from lookalike.core.errors import LookalikeError
from lookalike.core.processes import ask_slurm
from lookalike.data.registry import DATA_SETS
from lookalike.data.settings import DataSettings, prepared_bytes
from lookalike.pipeline.stage_table import STAGES, Item, Stage
from lookalike.study.messages import nearest
from lookalike.study.model import Study
from lookalike.study.plan import Plan, RunSpec

RUNS_AT_ONCE = 4  # of a job group, unless the profile gives it other threads
FEATURE_BYTES = 4 * 2048  # of an image, by the widest backbone
HOURS_LONG, HOURS_SHORT = 4, 1
PHOTOGRAPHS_SLOWER = 6  # times


def check_resources(study: Study, path: str) -> None:
    """Raise LookalikeError where `resources:` of a study names what is no stage or no model of it.

    Args:
        study: The study.
        path: Path of its file, for the message.
    """
    stages = [stage.name for stage in STAGES.values() if stage.asks_cluster]
    for key in study.resources:
        stage, slash, model = key.partition("/")
        if stage not in stages:
            raise LookalikeError(
                f"{path}: resources has {key!r}; stages of runs are {', '.join(stages)}. Write\n"
                f"  resources:\n    {nearest(stage, stages)}{slash}{model}: {{...}}"
            )
        if slash and not STAGES[stage].is_of_runs:
            raise LookalikeError(
                f"{path}: resources has {key!r}, but a job of {stage} holds runs of several models. Write\n"
                f"  resources:\n    {stage}: {{...}}"
            )
        if slash and model not in study.models:
            raise LookalikeError(
                f"{path}: resources has {key!r}, but there is no model {model!r}. Write\n"
                f"  resources:\n    {stage}/{nearest(model, list(study.models))}: {{...}}"
            )


def job_resources(
    plan: Plan,
    stage: Stage,
    run: RunSpec,
    item: Item,
    attempt: int = 1,
    at_once: int = 1,
    most: Mapping[str, int] | None = None,
) -> dict[str, int]:
    """Memory (mem_mb), minutes (runtime) and GPUs (gpu) of a job.

    Memory and time are doubled once after a failure. What the study does not say, and what is doubled, is cut to what
    the cluster has: it would refuse the job.

    Args:
        plan: The study.
        stage: Stage of a run, or that of job groups.
        run: Run of the job, or the first one of the group.
        item: What the stage works on.
        attempt: Number of the attempt, 1 for the first.
        at_once: Runs that a job group works on at a time.
        most: Limits of a cluster, as `largest_job` gives them.
    """
    settings = {
        name: value
        for key in (stage.name, f"{stage.name}/{run.model}")
        for name, value in (plan.resources[key].model_dump() if key in plan.resources else {}).items()
        if value is not None
    }
    model = plan.settings_of(run)
    resources = {**_expected(stage, item, plan.datasets[run.dataset], model, at_once), **settings}
    if stage.name == "train" and "gpu" not in settings and model.own_training is not None:
        resources["gpu"] = model.own_training.devices
    for name in ("mem_mb", "runtime"):
        resources[name] *= min(attempt, 2)
        if most and name in most:
            resources[name] = min(resources[name], max(most[name], settings.get(name, 0)))
    return resources


def _expected(stage: Stage, item: Item, entry: DataSettings, model: MethodSettings, at_once: int) -> dict[str, int]:
    photographs = DATA_SETS[entry.source].form == "files"
    # Small images are held as a whole, photographs are read as they are needed.
    megabytes = 4000 if photographs else 2000 + 2 * prepared_bytes(entry) // 1_000_000
    if photographs and stage.name != "train":
        # Features of the training images: as they come, of unit length, and those of the classes that compete.
        features = 3 * entry.counts().get("train", 0) * FEATURE_BYTES
        megabytes += (model.prepared_bytes + features) // 1_000_000
    holds = model.explains_with_network if stage.if_network else item.analysis is None or item.analysis.needs_network
    hours = HOURS_LONG if stage.long and holds else HOURS_SHORT
    minutes = 60 * hours * (PHOTOGRAPHS_SLOWER if photographs else 1)
    return {"mem_mb": megabytes * at_once, "runtime": minutes, "gpu": int(stage.gpu and holds)}


def largest_job() -> dict[str, int]:
    """The most that a job of SLURM can have: mem_mb of the largest node, runtime of the longest partition.

    What has no limit is left out; all is where SLURM does not answer.
    """
    answer = ask_slurm("sinfo", "--noheader", "--format=%m|%l")
    rows = [line.strip().split("|") for line in answer.stdout.splitlines() if "|" in line] if answer else []
    if not rows:
        return {}
    most = {"mem_mb": max(int(re.sub(r"\D", "", size)) for size, _ in rows)}
    limits = [_minutes(limit) for _, limit in rows]
    finite = [limit for limit in limits if limit is not None]
    return most | {"runtime": max(finite)} if len(finite) == len(limits) else most


def _minutes(limit: str) -> int | None:
    """Minutes of SLURM's `days-hours:minutes:seconds`, days and hours optional; None where there is no limit."""
    if not re.fullmatch(r"[\d:-]+", limit):
        return None
    days, _, clock = limit.rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    hours, minutes = ([0, 0, *parts[:-1]])[-2:]
    return int(days or 0) * 1440 + hours * 60 + minutes
