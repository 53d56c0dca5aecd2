"""Create what trainings log to, before any of them starts."""

from __future__ import annotations

from lookalike.stages.sync_tracking import with_mirror
from lookalike.study.plan import Plan


def init_tracking(plan: Plan) -> str:
    """Create the MLflow database, experiment and parent run of a study; what goes wrong fails nothing.

    Returns:
        What was done, or why nothing was.
    """
    return with_mirror(plan, "init_tracking", lambda mirror: f"experiment {plan.name}")
