"""The jobs of a study: the output that stands for each, its log, and where Snakemake records its time."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from lookalike.pipeline.stage_table import STAGES, Item, Stage
from lookalike.study.plan import Plan, RunSpec


@dataclass(frozen=True)
class Job:
    """One job.

    Attributes:
        plan: The study.
        stage: What is done.
        item: What it is done to.
    """

    plan: Plan
    stage: Stage
    item: Item

    @property
    def outputs(self) -> list[Path]:
        """All files that it leaves."""
        files: list[Path] = []
        for value in self.stage.outputs(self.plan, self.item).values():
            files += value if isinstance(value, list) else [value]
        return files

    @property
    def output(self) -> Path:
        """The file that stands for it."""
        return self.outputs[0]

    @property
    def name(self) -> str:
        """`evaluate digits/nw/all/seed0 full@test`: what messages call it."""
        return f"{self.stage.name} {self.item.subject or self.plan.name}"

    @property
    def log(self) -> Path:
        """Its log."""
        return self.stage.log(self.plan, self.item)

    @property
    def benchmark(self) -> Path:
        """The file where Snakemake records its time."""
        return self.stage.benchmark(self.plan, self.item)

    @property
    def command(self) -> str:
        """The command that does it again by hand."""
        return self.stage.command(self.plan, self.item)


def list_jobs(plan: Plan) -> Iterator[Job]:
    """All jobs of a study as its workflow sees them, in order: job groups stand for the jobs of their runs."""
    for stage in STAGES.values():
        if not (stage.is_of_runs and plan.runs_per_job is not None):
            yield from (Job(plan, stage, item) for item in stage.items(plan))


def run_jobs(plan: Plan, runs: Collection[RunSpec] | None = None) -> Iterator[Job]:
    """The jobs of some runs, or of all, in the order of the workflow."""
    for stage in STAGES.values():
        if stage.is_of_runs:
            for item in stage.items(plan):
                if runs is None or item.run in runs:
                    yield Job(plan, stage, item)
