"""The run record on disk: run.json, the truth that trackers mirror."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lookalike.files import digest, write_json
from lookalike.provenance import environment

if TYPE_CHECKING:
    from lookalike.data.prepared import PreparedData
    from lookalike.plan import RunSpec


def write_record(
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
        run: the run.
        data: what it was trained on.
        images: training images used.
        device: where it ran.
        started: seconds since 1970 at the first start.
        seconds: working time of all attempts.
        epochs: trained.
        attempts: starts until it was finished.
        key: of settings, data and code, as checkpoints have it.
        micro_batch: images that passed the network at once; less than the batch where the device's memory asked for it.
    """
    write_json(
        run.folder / "run.json",
        {
            "run": run.id,
            "study": run.plan.study,
            "uid": run_uid(run, started),
            "settings": run.settings,
            "seeds": {
                "study": run.plan.seed,
                "run": run.seed,
                "subset": run.subset_seed,
                "weights": run.seed_for("weights"),
            },
            "data": {"name": data.name, "hash": data.hash, "training_images": images},
            "device": device,
            "started": started,
            "seconds": seconds,
            "epochs": epochs,
            "attempts": attempts,
            "micro_batch": micro_batch,
            "key": key,
            "threads": run.plan.threads,
            **environment(),
        },
    )


def run_uid(run: RunSpec, started: float) -> str:
    """Identifies one training of a run; a resumed training keeps it, a repeated one gets another."""
    return digest([run.plan.study, run.id, started])
