"""Where runs are tracked, and the file that a job of a cluster leaves instead of talking to a database.

SQLite over a network file system loses data when several nodes write, so jobs inside SLURM spool: `sync_tracking`,
one process, imports what they left, as often as it is called.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lookalike.core.files import read_json, write_json

if TYPE_CHECKING:
    from lookalike.study.plan import Plan, RunSpec


@dataclass(frozen=True)
class Spooled:
    """What a running training has to tell.

    Attributes:
        started: Seconds since 1970 at the first start.
        process: Name of the process that trains, as `this_process` gives it.
        history: One row of each finished epoch.
    """

    started: float
    process: str
    history: list[dict[str, Any]]


def tracking_uri(plan: Plan) -> str:
    """MLFLOW_TRACKING_URI, else the SQLite file below results/tracking/."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{database_of(plan)}"


def database_of(plan: Plan) -> Path:
    """The SQLite file that is ours."""
    return (plan.root / "tracking" / "mlflow.db").resolve()


def must_spool(plan: Plan) -> bool:
    """Whether this process may not open the database: a job of a cluster, and the database is one file."""
    return "SLURM_JOB_ID" in os.environ and tracking_uri(plan).startswith("sqlite")


def spool_path(run: RunSpec) -> Path:
    """The file a running training leaves."""
    return run.folder / "progress.json"


def write_spool(run: RunSpec, spooled: Spooled) -> None:
    """Leave what there is to tell."""
    write_json(spool_path(run), asdict(spooled))


def read_spool(run: RunSpec) -> Spooled | None:
    """What a training left that has not finished; None where there is none."""
    path = spool_path(run)
    return Spooled(**read_json(path)) if path.exists() else None
