"""The stages of the workflow, one row each.

From a row come the outputs, resources and parameters of its rule, what a study may say under `resources:`, the jobs and
job groups, what the warm server loads, the verb of the command line, and the table in the documentation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lookalike.contracts.analysis import Analysis
from lookalike.contracts.settings import ReadingStage
from lookalike.data.fetched import RECORD
from lookalike.data.reader_input import downloads
from lookalike.data.registry import DATA_SETS
from lookalike.data.settings import FILTERS
from lookalike.reporting.catalogue import COLLECTED, figure_paths, figures_of, table_paths, tables_of
from lookalike.study.plan import Plan, RunSpec

Per = Literal[
    "source",
    "prepared data set",
    "prepared data set and filter",
    "run",
    "run and evaluation set",
    "run, mode and evaluation set",
    "run, analysis and evaluation set",
    "job group",
    "human study",
    "table",
    "figure",
    "study",
]


@dataclass(frozen=True)
class Item:
    """What one job of a stage works on; in a rule's patterns the words are wildcards.

    Attributes:
        run: Run; None for what belongs to no run.
        mode: Inference mode; empty where the stage has none.
        analysis: Analysis; None where the stage is none.
        evaluation_set: Name of the evaluation set; empty where the stage has none.
        name: Name of a source, prepared data set, human study, job group, table or figure; empty for others.
        filter: Name of the filter; empty where the stage has none.
    """

    run: RunSpec | None = None
    mode: str = ""
    analysis: Analysis | None = None
    evaluation_set: str = ""
    name: str = ""
    filter: str = ""

    @property
    def part(self) -> str:
        """`full@test`: what tells the items of one run, or of one study, apart."""
        kind = self.analysis.name if self.analysis is not None else self.mode
        return "@".join(filter(None, (kind, self.evaluation_set)))

    @property
    def subject(self) -> str:
        """`digits/nw/all/seed0 full@test`: what messages call the item."""
        return " ".join(filter(None, ("" if self.run is None else self.run.id, self.name, self.filter, self.part)))


Outputs = dict[str, Path | list[Path]]


@dataclass(frozen=True)
class Stage:
    """A row.

    Attributes:
        name: Name of the rule, of the log and, with hyphens, of the verb.
        title: What the stage does, as the workflow and the command line say it.
        function: `module:function` that does it.
        per: What one job of the stage works on.
        outputs: Function that gives the files that an item leaves, by name; the first one stands for the job.
        items: Function that gives what the stage works on in a study.
        reads: Which keys of a model's settings it reads: those of this stage and of the ones before it; None for none.
        gpu: Whether its jobs ask for a GPU.
        long: Whether its jobs take hours rather than minutes.
        if_network: Whether `gpu` and `long` hold only where explaining needs the network.
    """

    name: str
    title: str
    function: str
    per: Per
    outputs: Callable[[Plan, Item], Outputs]
    items: Callable[[Plan], Iterable[Item]]
    reads: ReadingStage | None = None
    gpu: bool = False
    long: bool = False
    if_network: bool = False

    @property
    def verb(self) -> str:
        """The command: `lookalike <verb>`."""
        return (
            f"data {self.name.replace('_data', '').replace('_', '-')}"
            if self.is_of_data
            else self.name.replace("_", "-")
        )

    @property
    def module(self) -> str:
        """The module whose code it runs."""
        return self.function.partition(":")[0]

    @property
    def is_of_data(self) -> bool:
        """Whether it works on data, which all studies share."""
        return self.per in ("source", "prepared data set", "prepared data set and filter")

    @property
    def is_of_runs(self) -> bool:
        """Whether its jobs belong to one run."""
        return self.per.startswith("run")

    @property
    def asks_cluster(self) -> bool:
        """Whether a study may say what its jobs ask of a cluster."""
        return self.is_of_runs or self.per == "job group"

    def folder(self, plan: Plan, item: Item) -> Path:
        """The folder that holds the logs and benchmarks of an item."""
        if item.run is not None:
            return item.run.folder
        if self.per == "source":
            return downloads() / item.name
        return plan.root / "data" / item.name if self.is_of_data else plan.folder

    def label(self, item: Item) -> str:
        """The name of an item's log and benchmark, without the suffix; that of an analysis names its file."""
        name = "" if self.is_of_data else item.name
        suffix = "" if item.analysis is None else f".{item.analysis.suffix}"  # a wildcard of the output, so of the log
        return "-".join(filter(None, (self.name, name, item.filter, item.part))) + suffix

    def log(self, plan: Plan, item: Item) -> Path:
        """The log of an item."""
        return self.folder(plan, item) / "logs" / f"{self.label(item)}.log"

    def benchmark(self, plan: Plan, item: Item) -> Path:
        """The file where Snakemake records the time of an item."""
        return self.folder(plan, item) / "benchmarks" / f"{self.label(item)}.tsv"

    def command(self, plan: Plan, item: Item) -> str:
        """The command that does an item of a study again by hand; `lookalike data` has those of data."""
        words = ["lookalike", self.verb, str(plan.path), item.run.id if item.run is not None else item.name]
        words += ["--mode", item.mode] * bool(item.mode)
        words += ["--analysis", item.analysis.name] if item.analysis is not None else []
        words += ["--evaluation-set", item.evaluation_set] * bool(item.evaluation_set)
        return " ".join(filter(None, words))


# Items ---------------------------------------------------------------------------------------------


def _sources(plan: Plan) -> Iterator[Item]:
    names = dict.fromkeys(settings.source for settings in plan.datasets.values())
    return (Item(name=name) for name in names if DATA_SETS[name].files)


def _prepared(plan: Plan) -> Iterator[Item]:
    return (Item(name=name) for name in dict.fromkeys(settings.prepared for settings in plan.datasets.values()))


def _filtered(plan: Plan) -> Iterator[Item]:
    """The prepared data sets whose clean queries are what our own filters leave."""
    names = (settings.prepared for settings in plan.datasets.values() if settings.needs_filters)
    return (Item(name=name) for name in dict.fromkeys(names))


def _runs(plan: Plan) -> Iterator[Item]:
    return (Item(run) for run in plan.runs())


def _patched(plan: Plan) -> Iterator[Item]:
    return (Item(run) for run in plan.runs() if plan.carries_adversarial_patch(run))


def _embedded_later(plan: Plan) -> Iterator[Item]:
    return (Item(run, evaluation_set=name) for run in plan.runs() for name in plan.sets_embedded_later(run))


def _evaluated(plan: Plan) -> Iterator[Item]:
    for evaluation in (*plan.evaluations(), *plan.ood_evaluations()):
        yield Item(evaluation.run, mode=evaluation.mode, evaluation_set=evaluation.evaluation_set)


def _explained(plan: Plan) -> Iterator[Item]:
    for evaluation in plan.shown_explanations().values():
        yield Item(evaluation.run, mode=evaluation.mode, evaluation_set=evaluation.evaluation_set)


def _analysed(plan: Plan) -> Iterator[Item]:
    for run in plan.analyses():
        yield Item(run.run, analysis=run.analysis, evaluation_set=run.evaluation_set)


def _named(names: Callable[[Plan], Iterable[str]]) -> Callable[[Plan], Iterator[Item]]:
    return lambda plan: (Item(name=name) for name in names(plan))


def _once(plan: Plan) -> list[Item]:
    return [Item()]


def _groups(plan: Plan) -> Iterator[Item]:
    from lookalike.pipeline.job_groups import job_groups

    return (Item(name=group.name) for group in job_groups(plan))


# Outputs -------------------------------------------------------------------------------------------


def _run_of(item: Item) -> RunSpec:
    assert item.run is not None, item
    return item.run


def _analysis_of(item: Item) -> Analysis:
    assert item.analysis is not None, item
    return item.analysis


def _prepared_files(plan: Plan, item: Item) -> Outputs:
    folder = plan.root / "data" / item.name
    return {"manifest": folder / "manifest.json", "index": folder / "index.parquet"}


def _trained(plan: Plan, item: Item) -> Outputs:
    run = _run_of(item)
    return {"weights": run.weights, "history": run.history, "record": run.record}


def _embedded(plan: Plan, item: Item) -> Outputs:
    run = _run_of(item)
    entry = plan.models.get(run.model)  # None where it is a wildcard
    record = {} if entry is None or entry.own_training is not None else {"record": run.record}
    return {"support": run.support, "queries": [run.queries(name) for name in plan.unchanged_sets()], **record}


def _tracking(stage: str) -> Callable[[Plan, Item], Outputs]:
    return lambda plan, item: {"state": plan.root / "tracking" / f"{stage}-{plan.name}.json"}


def _by_suffix(paths: Iterable[Path]) -> Outputs:
    return {path.suffix[1:]: path for path in paths}


STAGES = {
    stage.name: stage
    for stage in (
        Stage(
            "init_tracking",
            "Create the MLflow database, experiment and parent run of a study",
            "lookalike.stages.init_tracking:init_tracking",
            "study",
            outputs=_tracking("init_tracking"),
            items=_once,
        ),
        Stage(
            "fetch_data",
            "Fetch the files of a data set",
            "lookalike.data.download:fetch",
            "source",
            outputs=lambda plan, item: {"record": downloads() / item.name / RECORD},
            items=_sources,
        ),
        Stage(
            "prepare_data",
            "Bring a data set into its on-disk form",
            "lookalike.data.prepare:prepare_data",
            "prepared data set",
            outputs=_prepared_files,
            items=_prepared,
        ),
        Stage(
            "filter_data",
            "Say which test images a filter removes, and why",
            "lookalike.stages.filter_data:filter_data",
            "prepared data set and filter",
            outputs=lambda plan, item: {
                "removed": plan.root / "data" / item.name / "filters" / f"{item.filter}.parquet"
            },
            items=lambda plan: (Item(name=item.name, filter=name) for item in _filtered(plan) for name in FILTERS),
        ),
        Stage(
            "collect_filters",
            "Join what the filters left and compare it with the published clean list",
            "lookalike.stages.filter_data:collect_filters",
            "prepared data set",
            outputs=lambda plan, item: {"clean": plan.root / "data" / item.name / "filters" / "clean.json"},
            items=_filtered,
        ),
        Stage(
            "run_job_group",
            "Make all files of a group of runs, inside one job of a cluster",
            "lookalike.pipeline.job_groups:run_job_group",
            "job group",
            outputs=lambda plan, item: {"record": plan.folder / "job_groups" / f"{item.name}.json"},
            items=_groups,
            gpu=True,
            long=True,
        ),
        Stage(
            "train",
            "Train a run; a killed training goes on from its checkpoint",
            "lookalike.stages.train:train",
            "run",
            outputs=_trained,
            items=lambda plan: map(Item, plan.trained_runs()),
            reads="train",
            gpu=True,
            long=True,
        ),
        Stage(
            "train_adversarial_patch",
            "Train the study's adversarial patch against a run",
            "lookalike.stages.train_adversarial_patch:train_adversarial_patch",
            "run",
            outputs=lambda plan, item: {"patch": _run_of(item).adversarial_patch},
            items=_patched,
            reads="evaluate",
            gpu=True,
            long=True,
        ),
        Stage(
            "embed",
            "Embed what inference needs: the support of a run, and its queries",
            "lookalike.stages.embed:embed",
            "run",
            outputs=_embedded,
            items=_runs,
            reads="embed",
            gpu=True,
        ),
        Stage(
            "embed_queries",
            "Embed changed images, or those of another data set, beside the support of a run",
            "lookalike.stages.embed_queries:embed_queries",
            "run and evaluation set",
            outputs=lambda plan, item: {"queries": _run_of(item).queries(item.evaluation_set)},
            items=_embedded_later,
            reads="embed",
            gpu=True,
        ),
        Stage(
            "evaluate",
            "Write the predictions of a run in one mode",
            "lookalike.stages.evaluate:evaluate",
            "run, mode and evaluation set",
            outputs=lambda plan, item: {"predictions": _run_of(item).predictions(item.mode, item.evaluation_set)},
            items=_evaluated,
            reads="evaluate",
        ),
        Stage(
            "explain",
            "Write explanation records of sampled queries",
            "lookalike.stages.explain:explain",
            "run, mode and evaluation set",
            outputs=lambda plan, item: {"records": _run_of(item).explanations(item.mode, item.evaluation_set)},
            items=_explained,
            reads="explain",
            gpu=True,
            long=True,
            if_network=True,
        ),
        Stage(
            "analyse",
            "Run an analysis that a method declares",
            "lookalike.stages.analyse:analyse",
            "run, analysis and evaluation set",
            outputs=lambda plan, item: {"content": _run_of(item).analysis(_analysis_of(item), item.evaluation_set)},
            items=_analysed,
            reads="analyse",
            gpu=True,
            long=True,
        ),
        Stage(
            "analyse_human_study",
            "Analyse people's responses and released outputs of classifiers",
            "lookalike.stages.analyse_human_study:analyse_human_study",
            "human study",
            outputs=lambda plan, item: {
                "numbers": plan.human_study(item.name),
                "record": plan.human_study(item.name).with_suffix(".json"),
            },
            items=_named(lambda plan: plan.human_studies),
        ),
        Stage(
            "collect_metrics",
            "Gather the metrics of all evaluations of a study into small files",
            "lookalike.stages.collect_metrics:collect_metrics",
            "study",
            outputs=lambda plan, item: {name: plan.folder / "tables" / f"{name}.csv" for name in COLLECTED},
            items=_once,
        ),
        Stage(
            "compare",
            "Compare published numbers with those of a study: a verdict for each",
            "lookalike.stages.compare:compare",
            "study",
            outputs=lambda plan, item: _by_suffix(
                plan.folder / "tables" / f"published.{suffix}" for suffix in ("csv", "tex", "md")
            ),
            items=lambda plan: [Item()] * bool(plan.published),
        ),
        Stage(
            "draw_table",
            "Write a table as CSV, LaTeX and Markdown",
            "lookalike.stages.draw_table:draw_table",
            "table",
            outputs=lambda plan, item: _by_suffix(table_paths(plan, item.name)),
            items=_named(tables_of),
        ),
        Stage(
            "draw_figure",
            "Write a figure as SVG, PDF and PNG",
            "lookalike.stages.draw_figure:draw_figure",
            "figure",
            outputs=lambda plan, item: _by_suffix(figure_paths(plan, item.name)),
            items=_named(figures_of),
        ),
        Stage(
            "write_report",
            "Write the HTML report of a study",
            "lookalike.stages.write_report:write_report",
            "study",
            outputs=lambda plan, item: {"page": plan.folder / "report.html"},
            items=_once,
        ),
        Stage(
            "sync_tracking",
            "Bring MLflow up to date with the files of a study; mark killed runs",
            "lookalike.stages.sync_tracking:sync_tracking",
            "study",
            outputs=_tracking("sync_tracking"),
            items=_once,
        ),
    )
}
