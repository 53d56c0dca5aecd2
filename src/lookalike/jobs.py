"""The jobs of a study: the output that stands for each, its log, and where Snakemake records its time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lookalike.data.download import RECORD
from lookalike.data.registry import DATA_SETS
from lookalike.data.source import downloads
from lookalike.packs import packs
from lookalike.plan import Plan, RunSpec
from lookalike.reporting.names import figure_names, figure_paths, shown_explanations, table_names, table_paths


@dataclass(frozen=True)
class Job:
    """One job.

    Attributes:
        stage: the rule, `draw_table` and `draw_figure` for all of theirs.
        subject: what it works on.
        output: the file that stands for it.
        folder: holds logs/ and benchmarks/.
        label: their name there.
        run: whose it is; None for the study's own.
        command: the words after `lookalike` that do it again by hand; of a run's jobs only.
    """

    stage: str
    subject: str
    output: Path
    folder: Path
    label: str
    run: RunSpec | None = None
    command: str = ""

    @property
    def log(self) -> Path:
        """What it said."""
        return self.folder / "logs" / f"{self.label}.log"

    @property
    def benchmark(self) -> Path:
        """Where Snakemake records its time."""
        return self.folder / "benchmarks" / f"{self.label}.tsv"


def list_jobs(plan: Plan) -> list[Job]:
    """All jobs of a study as its workflow sees them, in order: packs stand for the jobs of their runs."""
    made = [_tracking(plan, "init_tracking")]
    for source in study_sources(plan):
        if DATA_SETS[source].files:
            folder = downloads() / source
            made.append(Job("fetch_data", source, folder / RECORD, folder, "fetch_data"))
    for folder in dict.fromkeys(map(plan.data_folder, plan.datasets)):
        made.append(Job("prepare_data", folder.name, folder / "manifest.json", folder, "prepare_data"))
    packed = [Job("run_pack", pack.name, pack.path, plan.folder, f"run_pack-{pack.name}") for pack in packs(plan)]
    made += packed or run_jobs(plan, plan.runs())
    for name in plan.human_studies:
        label = f"analyse_responses-{name}"
        made.append(Job("analyse_responses", name, plan.human_study(name), plan.folder, label))
    made.append(
        Job("collect_metrics", plan.study, plan.folder / "tables" / "metrics.csv", plan.folder, "collect_metrics")
    )
    if plan.published:
        made.append(Job("compare", plan.study, plan.folder / "tables" / "published.csv", plan.folder, "compare"))
    for name in table_names(plan):
        made.append(Job("draw_table", name, table_paths(plan, name)[0], plan.folder, f"draw_table-{name}"))
    for name in figure_names(plan):
        made.append(Job("draw_figure", name, figure_paths(plan, name)[0], plan.folder, f"draw_figure-{name}"))
    made.append(Job("write_report", plan.study, plan.folder / "report.html", plan.folder, "write_report"))
    return [*made, _tracking(plan, "sync_tracking")]


def run_jobs(plan: Plan, runs: Iterable[RunSpec]) -> Iterator[Job]:
    """The jobs of some runs, in the order of the workflow."""
    runs = list(runs)
    wanted = set(runs)

    def job(stage: str, run: RunSpec, output: Path, command: str, of: str = "") -> Job:
        words = f"{command.split()[0]} {plan.path} {run.id}{command.removeprefix(command.split()[0])}"
        return Job(stage, f"{run.id} {of}".strip(), output, run.folder, f"{stage}-{of}" if of else stage, run, words)

    for run in runs:
        if run.trained:
            yield job("train", run, run.folder / "model.safetensors", "train")
    for run in runs:
        if plan.is_patched(run.dataset) and run.patch.parent == run.folder:
            yield job("make_patch", run, run.patch, "make-patch")
    for run in (run for run in runs if run.settings["modes"]):
        yield job("precompute_support", run, run.support_folder / "support.safetensors", "precompute-support")
    for run in (run for run in runs if run.settings["modes"]):
        names = [name for name in plan.sets_of(run.dataset) if not plan.is_with_support(name)]
        for name in names + plan.outlier_sets(run.dataset, run.size):
            yield job("embed_queries", run, run.queries(name), f"embed-queries --set {name}", name)
    for run in runs:
        for mode in run.settings["modes"]:
            for split in plan.sets_of(run.dataset):
                words = f"evaluate --mode {mode} --set {split}"
                yield job("evaluate", run, run.predictions(mode, split), words, f"{mode}@{split}")
    for e in plan.outliers():
        if e.run in wanted:
            words = f"evaluate --mode {e.mode} --set {e.split}"
            yield job("evaluate", e.run, e.run.predictions(e.mode, e.split), words, f"{e.mode}@{e.split}")
    for e in shown_explanations(plan).values():
        if e.run in wanted:
            words = f"explain --mode {e.mode} --set {e.split}"
            yield job("explain", e.run, e.run.explanations(e.mode, e.split), words, f"{e.mode}@{e.split}")
    for run, split in plan.counterfactuals():
        if run in wanted:
            output = run.counterfactuals(split)
            yield job("score_counterfactuals", run, output, f"score-counterfactuals --set {split}", split)
    for run, split in plan.correspondences():
        if run in wanted:
            output = run.correspondences(split)
            yield job("score_correspondences", run, output, f"score-correspondences --set {split}", split)
    for run, split in plan.prototypes():
        if run in wanted:
            yield job("show_prototypes", run, run.prototypes(split), f"show-prototypes --set {split}", split)


def study_sources(plan: Plan) -> list[str]:
    """Registry names of a study's data sets, each once."""
    return list(dict.fromkeys(settings["source"] for settings in plan.datasets.values()))


def _tracking(plan: Plan, stage: str) -> Job:
    output = plan.root / "tracking" / f"{stage}-{plan.study}.json"
    return Job(stage, plan.study, output, plan.folder, stage)
