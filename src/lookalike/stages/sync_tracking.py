"""Mirror a study in MLflow. Files are the truth: a tracker that fails fails nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from lookalike.core.credentials import without_credentials
from lookalike.core.files import write_json
from lookalike.study.plan import Plan

if TYPE_CHECKING:
    from lookalike.tracking.mlflow_mirror import Mirror


def sync_tracking(plan: Plan) -> str:
    """Bring MLflow up to date with the files of a study, and mark killed runs.

    Returns:
        What was done, or why nothing was.
    """
    return with_mirror(
        plan,
        "sync_tracking",
        lambda mirror: ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in mirror.sync().items()),
    )


def with_mirror(plan: Plan, stage: str, action: Callable[[Mirror], str]) -> str:
    """Do something with MLflow; what goes wrong is reported, in the stage's output too, and fails nothing.

    Args:
        plan: The study.
        stage: Name of the stage.
        action: Function of the mirror that gives what was done.
    """
    try:
        from lookalike.tracking.mlflow_mirror import Mirror

        result = action(Mirror(plan))
    except Exception as error:  # whatever a database or server raises
        reason = without_credentials(f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}")
        result = f"MLflow is unavailable ({reason}); results are complete without it"
        print(f"warning: {result}", file=sys.stderr)
    write_json(plan.root / "tracking" / f"{stage}-{plan.name}.json", {"result": result})
    return result
