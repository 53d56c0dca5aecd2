"""What a stage is given to do on a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lookalike.contracts.analysis import Analysis
from lookalike.study.plan import Plan, RunSpec

GALLERY = "gallery"  # what the fingerprint of prepared training images is asked by


@dataclass(frozen=True)
class Task:
    """One job of a stage that works on a run.

    Attributes:
        plan: The study.
        run: The run.
        fingerprint: Stage and evaluation set -> what makes the result of that stage on this run out of date.
        evaluation_set: Name of the evaluation set; empty where the stage has none.
        mode: Inference mode; empty where the stage has none.
        analysis: Analysis; None where the stage is none.
    """

    plan: Plan
    run: RunSpec
    fingerprint: Callable[[str, str], str]
    evaluation_set: str = ""
    mode: str = ""
    analysis: Analysis | None = None
