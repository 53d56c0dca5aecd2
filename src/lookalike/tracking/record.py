"""The run record on disk: run.json, the truth that trackers mirror."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lookalike.core.files import digest, sha256, write_json
from lookalike.core.provenance import environment

if TYPE_CHECKING:
    from lookalike.data.prepared import PreparedData
    from lookalike.study.plan import Plan, RunSpec


def write_record(
    plan: Plan,
    run: RunSpec,
    data: PreparedData,
    images: int,
    device: str,
    started: float,
    seconds: float,
    epochs: int = 0,
    attempts: int = 1,
    micro_batch: int | None = None,
    key: str = "",
) -> None:
    """Write run.json: all that is needed to tell how a result came about.

    Args:
        plan: The study.
        run: The run.
        data: The prepared data set it was trained on.
        images: Number of training images.
        device: Device it ran on.
        started: Seconds since 1970 at the first start.
        seconds: Working time of all attempts.
        epochs: Epochs of the training; 0 where nothing was trained.
        attempts: Starts until it was finished.
        micro_batch: Images that passed the network at once; less than the batch where the device's memory asked for it.
        key: Digest of settings, data and code, as checkpoints have it.
    """
    seeds = plan.seeds_of(run)
    write_json(
        run.record,
        {
            "run": run.id,
            "study": plan.name,
            "uid": run_uid(plan, run, started),
            "settings": plan.settings_of(run).model_dump(mode="json"),
            "seeds": {
                "study": plan.seed,
                "run": run.seed,
                "subset": seeds.draw,
                "weights": seeds.of_run("weights"),
            },
            "data": {"name": data.name, "hash": data.hash, "training_images": images},
            "device": device,
            "started": started,
            "seconds": seconds,
            "epochs": epochs,
            "attempts": attempts,
            "micro_batch": micro_batch,
            "key": key,
            "weights": sha256(run.weights) if epochs else None,
            "threads": plan.threads,
            **environment(),
        },
    )


def run_uid(plan: Plan, run: RunSpec, started: float) -> str:
    """Identifies one training of a run; a resumed training keeps it, a repeated one gets another."""
    return digest([plan.name, run.id, started])
