"""Log a training while it runs: to MLflow, or to a file where many nodes would share its database."""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING, Any, Protocol

from lookalike.core.processes import this_process
from lookalike.tracking.spool import Spooled, must_spool, spool_path, write_spool

if TYPE_CHECKING:
    from lookalike.study.plan import Plan, RunSpec


class Progress(Protocol):
    """What a training tells of itself.

    Attributes:
        started: Seconds since 1970 at the first start.
        history: One row of each finished epoch.
    """

    started: float
    history: list[dict[str, float | int]]


log = logging.getLogger(__name__)
FLUSH_SECONDS = 5.0


class LiveTracker:
    """Logs finished epochs in batches, every few seconds. Gives up, and says so, at the first error.

    A training that is over before the first batch is never held up by MLflow: `sync_tracking` mirrors it.

    Args:
        plan: The study.
        run: The run that is trained.
    """

    def __init__(self, plan: Plan, run: RunSpec) -> None:
        self.plan, self.run = plan, run
        self.broken = False
        self._mirror: Any = None
        self._run_id = ""
        self._flushed = time.monotonic()
        self._spools = must_spool(plan)
        if self._spools and os.environ.get("MLFLOW_TRACKING_URI"):
            log.warning(
                "MLFLOW_TRACKING_URI names an SQLite file, which loses data when the jobs of a cluster share it: %s "
                "keeps its metrics in %s, and `lookalike sync-tracking` imports them; a server or PostgreSQL by its "
                "URI is logged to directly",
                run.id,
                spool_path(run),
            )

    def __call__(self, progress: Progress, last: bool = False) -> None:
        """Log what the progress has that MLflow lacks.

        Args:
            progress: Progress of the training.
            last: Whether the training is over; flushes what an earlier batch began.
        """
        due = time.monotonic() - self._flushed >= FLUSH_SECONDS
        if self.broken or not (due or (last and self._mirror is not None)):
            return
        try:
            if self._spools:
                write_spool(self.run, Spooled(progress.started, this_process(), progress.history))
                self._flushed = time.monotonic()
                return
            if self._mirror is None:
                from lookalike.tracking.mlflow_mirror import Mirror

                self._mirror = Mirror(self.plan)
                self._run_id = self._mirror.child(self.run, progress.started, this_process())
            self._mirror.log_history(self._run_id, progress.history, progress.started)
        except Exception as error:  # whatever it is, training goes on
            self.broken = True
            log.warning("tracking is off for %s (%s: %s)", self.run.id, type(error).__name__, error)
        self._flushed = time.monotonic()
