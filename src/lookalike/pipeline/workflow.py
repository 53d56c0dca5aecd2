"""What the workflow's rules call: patterns of outputs and logs, inputs, parameters and resources of jobs.

The rule files hold the graph and nothing else; everything here follows from the stage table, the plan and the
catalogue.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from snakemake.io import ancient, report

from lookalike.contracts.analysis import Analysis
from lookalike.contracts.settings import weights_files
from lookalike.core.files import digest
from lookalike.data.fetched import RECORD
from lookalike.data.reader_input import downloads
from lookalike.data.registry import DATA_SETS
from lookalike.data.settings import FILTERS
from lookalike.pipeline.fingerprint import (
    VERSION_FILE,
    code_of,
    code_of_metrics,
    drawing_version,
    fingerprint,
    prepared_version,
)
from lookalike.pipeline.job_groups import job_groups
from lookalike.pipeline.jobs import Job, run_jobs
from lookalike.pipeline.resources import job_resources, largest_job
from lookalike.pipeline.stage_table import STAGES, Item, Stage
from lookalike.reporting.catalogue import (
    COLLECTED,
    HISTORIES,
    HUMAN_STUDY,
    OOD_PREDICTIONS,
    PREDICTIONS,
    PUBLISHED,
    Figure,
    Table,
    figures_of,
    tables_of,
)
from lookalike.reporting.html import TEMPLATE
from lookalike.study.evaluation_sets import PATTERN, parse_evaluation_set
from lookalike.study.plan import AnalysisRun, Plan, RunSpec
from lookalike.study.published import FOLDER

CAPTION = "../report/caption.rst"  # beside the rules; it shows the parameter `caption`
RUN = "{dataset}/{model}/{size}/seed{seed}"
Wildcards = Any
Files = list[str]
# What a stage works on -> the wildcard that names it; jobs of runs have several.
WILDCARD = {
    "source": "source",
    "prepared data set": "prepared",
    "prepared data set and filter": "prepared",
    "job group": "job_group",
    "human study": "human_study",
    "table": "table",
    "figure": "figure",
}


class Workflow:
    """The rules' view of a study.

    Args:
        plan: The study.
        is_submitted: Tells whether jobs are submitted to a cluster; Snakemake knows once it has read the rules.

    Attributes:
        run_inputs: Input functions that all stages of a run share.
    """

    def __init__(self, plan: Plan, is_submitted: Callable[[], bool] = lambda: False) -> None:
        self.plan = plan
        self.is_submitted = is_submitted
        self.groups = {group.name: group for group in job_groups(plan)}
        self.group_of = {run.id: group.job for group in self.groups.values() for run in group.runs}
        self.prepared = {settings.prepared: settings for settings in plan.datasets.values()}
        self.versions = {name: prepared_version(settings) for name, settings in self.prepared.items()}
        self.tables, self.figures = tables_of(plan), figures_of(plan)
        self.run_inputs = {
            "data": lambda wildcards: self.manifest(wildcards.dataset),
            "clean": lambda wildcards: self.clean_list(wildcards.dataset),
            "weights": self.weights,
            "pretrained": self.pretrained,
        }

    # Patterns -------------------------------------------------------------------------------------

    def wildcard_constraints(self) -> dict[str, str]:
        """The pattern of every wildcard."""
        return {
            "dataset": r"[a-z][a-z0-9_]*",
            "model": r"[a-z][a-z0-9_]*",
            "size": r"all|\d+",
            "seed": r"\d+",
            "mode": r"[a-z_]+",
            "analysis": _one_of(analysis.name for m in self.plan.models.values() for analysis in m.analyses),
            "suffix": "parquet|safetensors",
            "evaluation_set": "|".join([PATTERN, *self.plan.datasets]),
            "prepared": r"[a-z0-9_-]+",
            "source": r"[a-z0-9_]+",
            "filter": _one_of(FILTERS),
            "human_study": _one_of(self.plan.human_studies),
            "job_group": _one_of(self.groups),
            "table": _one_of(self.tables),
            "figure": _one_of(self.figures),
        }

    def later_sets(self) -> str:
        """The pattern of the evaluation sets that are embedded by jobs of their own."""
        return _one_of(name for run in self.plan.runs() for name in self.plan.sets_embedded_later(run))

    def outputs(self, stage: str, models: Iterable[str] | None = None) -> dict[str, Any]:
        """The outputs of a rule, by name.

        Args:
            stage: Name of the stage.
            models: Models whose runs the rule is for; all when left out.
        """
        outputs = STAGES[stage].outputs(self.plan, self.pattern(STAGES[stage], models))
        return {name: _text(value) for name, value in outputs.items()}

    def reported(self, stage: str, shown: str) -> dict[str, Any]:
        """The outputs of a rule that draws, one of them marked for Snakemake's report.

        Args:
            stage: Name of the stage.
            shown: Name of the output that the report shows.
        """
        marked = report(
            self.outputs(stage)[shown],
            caption=CAPTION,
            category=lambda wildcards: self.entry(wildcards).category,
            labels=lambda wildcards: {STAGES[stage].per: self.entry(wildcards).label},
        )
        return {**self.outputs(stage), shown: marked}

    def record(self, models: Iterable[str]) -> str:
        """The run record, for a rule whose runs train nothing."""
        run = self.pattern(STAGES["embed"], models).run
        assert run is not None
        return str(run.record)

    def embedded(self) -> dict[str, str]:
        """The stores of a run that every inference reads."""
        run, names = self.pattern(STAGES["evaluate"]).run, "{evaluation_set}"
        assert run is not None
        return {"support": str(run.support), "queries": str(run.queries(names))}

    def log(self, stage: str) -> str:
        """The log of a rule."""
        return str(STAGES[stage].log(self.plan, self.pattern(STAGES[stage])))

    def benchmark(self, stage: str) -> str:
        """The file where a rule's time is recorded."""
        return str(STAGES[stage].benchmark(self.plan, self.pattern(STAGES[stage])))

    def pattern(self, stage: Stage, models: Iterable[str] | None = None) -> Item:
        """The item of a stage with wildcards in the place of words.

        Args:
            stage: The stage.
            models: Models that the wildcard stands for; all when left out.
        """
        per = stage.per
        model = "{model}" if models is None else f"{{model,{_one_of(models)}}}"
        return Item(
            run=_run_of_words(self.plan.folder, model) if per.startswith("run") else None,
            mode="{mode}" * ("mode" in per),
            analysis=_analysis_of_words() if "analysis" in per else None,
            evaluation_set="{evaluation_set}" * ("evaluation set" in per),
            name=f"{{{WILDCARD[per]}}}" if per in WILDCARD else "",
            filter="{filter}" * ("filter" in per),
        )

    def item(self, stage: str, wildcards: Wildcards) -> Item:
        """What a job works on."""
        row = STAGES[stage]
        if not row.is_of_runs:
            name = wildcards.get(WILDCARD[row.per], "") if row.per in WILDCARD else ""
            return Item(name=name, filter=wildcards.get("filter", ""))
        run = self.run(wildcards)
        analysis = wildcards.get("analysis", "")
        return Item(
            run,
            wildcards.get("mode", ""),
            next((a for a in self.plan.models[run.model].analyses if a.name == analysis), None),
            wildcards.get("evaluation_set", ""),
        )

    def run(self, wildcards: Wildcards) -> RunSpec:
        """The run of a job.

        Raises:
            LookalikeError: The study has no such run.
        """
        return self.plan.run(RUN.format(**wildcards))

    # Parameters and resources ---------------------------------------------------------------------

    def fingerprint(self, stage: str) -> Callable[[Wildcards], str]:
        """A function of a job: what makes its outputs out of date, besides its input files.

        One parameter for all of it: each function of each job costs the workflow time.
        """
        return lambda wildcards: fingerprint(self.plan, stage, self.item(stage, wildcards))

    def fingerprint_of_group(self, wildcards: Wildcards) -> str:
        """What makes any file of a group's runs out of date."""
        jobs = run_jobs(self.plan, self.groups[wildcards.job_group].runs)
        return digest([fingerprint(self.plan, job.stage.name, job.item) for job in jobs])

    def code(self, stage: str) -> str:
        """Hash of the code of a stage that belongs to no run."""
        return code_of_metrics(self.plan) if stage == "collect_metrics" else code_of(stage)

    def resources(self, stage: str) -> dict[str, Callable[..., int]]:
        """The resources of a rule: mem_mb, runtime and gpu, functions of a job and its attempt."""
        row = STAGES[stage]

        def of_run(name: str) -> Callable[..., int]:
            def amount(wildcards: Wildcards, attempt: int) -> int:
                item = self.item(stage, wildcards)
                assert item.run is not None
                return self._resources(row, item.run, item, attempt, 1)[name]

            return amount

        def of_group(name: str) -> Callable[..., int]:
            def amount(wildcards: Wildcards, attempt: int, threads: int) -> int:
                item = self.item(stage, wildcards)
                first = self.groups[item.name].runs[0]
                return self._resources(row, first, item, attempt, threads // self.plan.threads)[name]

            return amount

        make = of_run if row.is_of_runs else of_group
        return {name: make(name) for name in ("mem_mb", "runtime", "gpu")}

    def _resources(self, stage: Stage, run: RunSpec, item: Item, attempt: int, at_once: int) -> dict[str, int]:
        return job_resources(self.plan, stage, run, item, attempt, at_once, self._limits())

    def _limits(self) -> Mapping[str, int] | None:
        """What the cluster has at most, where jobs are submitted to one."""
        return _largest_job() if self.is_submitted() else None

    # Inputs of runs -------------------------------------------------------------------------------

    def manifest(self, entry: str) -> Any:
        """The manifest of a data set's prepared images.

        Repaired data is the same data (`ancient`). Where it follows from something else now, `ancient` would be wrong:
        Snakemake looks at no parameter of a job that waits for another one, and would leave the run as it is.
        """
        prepared = self.plan.datasets[entry].prepared
        path = str(self._prepared_folder(prepared) / "manifest.json")
        return ancient(path) if self._is_unchanged(prepared) else path

    def clean_list(self, entry: str) -> Files:
        """The clean queries, where an entry asks for what our own filters leave."""
        settings = self.plan.datasets[entry]
        path = self._prepared_folder(settings.prepared) / "filters" / "clean.json"
        return [str(path)] if settings.needs_filters else []

    def weights(self, wildcards: Wildcards) -> Files:
        """The network's file that a run reads: its own or its giver's; none where its entry names a file."""
        weights = self.plan.weights_of(self.run(wildcards))
        return [] if weights is None else [str(weights)]

    def frozen(self, wildcards: Wildcards) -> Files:
        """The network's file of another run that a training starts from or is put on."""
        giver = self.plan.giver_of(self.run(wildcards))
        weights = None if giver is None else self.plan.weights_of(giver)
        return [] if weights is None else [str(weights)]

    def pretrained(self, wildcards: Wildcards) -> Files:
        """The weights files that a run starts from and that exist; `obstacles` stops a workflow that lacks others."""
        return self._existing_weights([wildcards.model])

    def _existing_weights(self, models: Iterable[str]) -> Files:
        entries = [self.plan.models[name] for model in models for name in (model, self.plan.owner_of(model))]
        paths = {path for entry in entries for path in weights_files(entry).values()}
        return sorted(path for path in paths if Path(path).exists())

    def foreign(self, wildcards: Wildcards) -> Files:
        """Manifest and clean list of the other entry whose images an evaluation set shows, where it does."""
        return self._of_entries([wildcards.evaluation_set])

    def _of_entries(self, names: Iterable[str]) -> Files:
        entries = [name for name in names if name in self.plan.datasets]
        return [path for name in entries for path in (self.manifest(name), *self.clean_list(name))]

    def adversarial_patch(self, wildcards: Wildcards) -> Files:
        """The adversarial patch that the images of an evaluation set carry, where they do."""
        name = wildcards.evaluation_set
        carried = name not in self.plan.datasets and parse_evaluation_set(name).patched
        return [str(self.plan.patching_run(self.run(wildcards)).adversarial_patch)] if carried else []

    def group_inputs(self, wildcards: Wildcards) -> Files:
        """Prepared data and weights of the runs of a job group."""
        runs = self.groups[wildcards.job_group].runs
        dataset, size = runs[0].dataset, runs[0].size
        others = [*self.plan.sets_evaluated_with(dataset), *self.plan.ood_sets(dataset, size)]
        weights = self._existing_weights(run.model for run in runs)
        return [*self._of_entries([dataset, *others]), *weights]

    # Inputs of data -------------------------------------------------------------------------------

    def _prepared_folder(self, prepared: str) -> Path:
        return self.plan.root / "data" / prepared

    @cache  # noqa: B019
    def _is_unchanged(self, prepared: str) -> bool:
        """Whether a prepared data set follows from what it would follow from now."""
        path = self._prepared_folder(prepared) / VERSION_FILE
        return path.exists() and path.read_text(encoding="utf-8") == self.versions[prepared]

    def fetched(self, wildcards: Wildcards) -> Any:
        """The record of the files that a data set is prepared from; none where it needs no download."""
        source = self.prepared[wildcards.prepared].source
        if not DATA_SETS[source].files:
            return []
        path = str(downloads() / source / RECORD)
        return ancient(path) if self._is_unchanged(wildcards.prepared) else path

    def of_photographs(self, wildcards: Wildcards) -> bool:
        """Whether a prepared data set is one of photographs, which takes hours and several cores to prepare."""
        return DATA_SETS[self.prepared[wildcards.prepared].source].form == "files"

    def checksums(self, wildcards: Wildcards) -> Files:
        """Checksums of the files of a data set."""
        return [file.checksum for file in DATA_SETS[wildcards.source].files]

    def prepare_options(self, wildcards: Wildcards) -> str:
        """JSON of the options that change what is on disk."""
        return json.dumps(self.prepared[wildcards.prepared].prepare_options(), sort_keys=True)

    def filter_weights(self, wildcards: Wildcards) -> Files:
        """The network by which duplicates are told, whichever entry names it."""
        entries = [entry for entry in self.plan.datasets.values() if entry.prepared == wildcards.prepared]
        paths = [path for entry in entries for path in weights_files(entry).values()]
        return paths[:1] if wildcards.filter == "duplicates" else []

    # Inputs of a study ----------------------------------------------------------------------------

    def files_of(self, stage: str, output: str = "") -> Files:
        """All outputs of a stage in the study, or the records of the job groups that leave them.

        Args:
            stage: Name of the stage.
            output: Name of the one output of each job that is meant; all when left out.
        """
        row = STAGES[stage]
        return self._files([Job(self.plan, row, item) for item in row.items(self.plan)], output)

    def _files(self, jobs: Iterable[Job], output: str = "") -> Files:
        files: dict[str, None] = {}
        for job in jobs:
            group = self.group_of.get(job.item.run.id) if job.item.run is not None else None
            if group is not None:
                files[str(group.output)] = None
            elif output:
                files[str(job.stage.outputs(self.plan, job.item)[output])] = None
            else:
                files |= dict.fromkeys(map(str, job.outputs))
        return list(files)

    def records(self) -> Files:
        """All run records, or the records of the job groups that leave them."""
        if self.groups:
            return self.files_of("run_job_group")
        return [str(run.record) for run in self.plan.runs()]

    def human_study_files(self, wildcards: Wildcards) -> Files:
        """The files of a human study that exist; `obstacles` names the others."""
        files = self.plan.human_studies[wildcards.human_study].files()
        return [path for path in files.values() if Path(path).exists()]

    def human_study_settings(self, wildcards: Wildcards) -> list[Any]:
        """What an entry says besides the content of its files."""
        return [self.plan.seed, self.plan.human_studies[wildcards.human_study].model_dump(mode="json")]

    def published_files(self) -> Files:
        """The published numbers that the study names."""
        return [str(FOLDER / f"{name}.csv") for name in self.plan.published]

    def entry(self, wildcards: Wildcards) -> Table | Figure:
        """The declaration of the table or figure that a job draws."""
        return self.tables[wildcards.table] if hasattr(wildcards, "table") else self.figures[wildcards.figure]

    def drawn_from(self, wildcards: Wildcards) -> Files:
        """What a table or figure is drawn from."""
        entry = self.entry(wildcards)
        shown = entry.shows if isinstance(entry, Figure) else None
        if shown is not None:
            path = shown.output if isinstance(shown, AnalysisRun) else shown.explanations
            group = self.group_of.get(shown.run.id)
            images = self.plan.data_folder(shown.run.dataset) / "manifest.json"
            return [str(path if group is None else group.output), str(images)]
        return [path for name in entry.reads for path in self._read_files(name)]

    def _read_files(self, name: str) -> Files:
        """The files behind a name that declarations of tables and figures read."""
        evaluate = STAGES["evaluate"]
        if name in COLLECTED:
            return [str(STAGES["collect_metrics"].outputs(self.plan, Item())[name])]
        if name in (PREDICTIONS, OOD_PREDICTIONS):
            evaluations = self.plan.evaluations() if name == PREDICTIONS else self.plan.ood_evaluations()
            items = (Item(e.run, mode=e.mode, evaluation_set=e.evaluation_set) for e in evaluations)
            return self._files(Job(self.plan, evaluate, item) for item in items)
        if name == HISTORIES:
            return self.files_of("train", "history")
        if name == HUMAN_STUDY:
            return self.files_of("analyse_human_study", "numbers")
        if name == PUBLISHED:
            return self.files_of("compare", "csv")
        kind, _, analysis = name.partition(":")
        assert kind == "analysis", name
        analyse = STAGES["analyse"]
        items = (item for item in analyse.items(self.plan) if item.analysis and item.analysis.name == analysis)
        return self._files(Job(self.plan, analyse, item) for item in items)

    def caption(self, wildcards: Wildcards) -> str:
        """The sentences below a figure."""
        entry = self.entry(wildcards)
        return entry.caption if isinstance(entry, Figure) else entry.label

    def drawing_version(self, wildcards: Wildcards) -> list[Any]:
        """What makes a table or figure out of date, besides its input files."""
        return drawing_version(self.plan, self.entry(wildcards))

    def report_version(self) -> list[Any]:
        """What makes the report out of date, besides its input files."""
        captions = [[entry.name, entry.caption] for entry in self.figures.values()]
        return [code_of("write_report"), digest(TEMPLATE.read_text(encoding="utf-8")), digest(captions)]


@cache
def _largest_job() -> dict[str, int]:
    return largest_job()


def _one_of(names: Iterable[str]) -> str:
    """A pattern of some words; nothing matches it where there is none."""
    return "|".join(dict.fromkeys(names)) or "(?!)"


def _text(value: Path | list[Path]) -> str | list[str]:
    return [str(path) for path in value] if isinstance(value, list) else str(value)


def _run_of_words(folder: Path, model: str) -> RunSpec:
    """A run whose words are wildcards."""
    return RunSpec(folder, "{dataset}", model, "{size}", "{seed}")  # type: ignore[arg-type]


def _analysis_of_words() -> Analysis:
    """An analysis whose words are wildcards."""
    return Analysis("{analysis}", title="", compute="", suffix="{suffix}")  # type: ignore[arg-type]
