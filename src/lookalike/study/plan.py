"""The plan: a study and where its results lie. Stages read it, and find through it every path they touch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import Field

from lookalike.contracts.analysis import Analysis
from lookalike.contracts.settings import BackboneSettings, MethodSettings, key_of
from lookalike.core.errors import LookalikeError
from lookalike.core.files import digest, read_json, write_json
from lookalike.core.seeds import RunSeeds
from lookalike.study.evaluation_sets import is_unchanged, parse_evaluation_set
from lookalike.study.messages import as_yaml
from lookalike.study.model import Study
from lookalike.study.read import check_study

PLAN_VERSION = 7


@dataclass(frozen=True)
class RunSpec:
    """One run: (data set, model, training size, seed) and the files it owns.

    Attributes:
        study_folder: Results/<study>.
        dataset: Entry of the study's data sets.
        model: Entry of the study's models.
        size: Training size, `all` or a number.
        seed: Number of the run.
    """

    study_folder: Path = field(repr=False, compare=False)
    dataset: str
    model: str
    size: str
    seed: int

    @property
    def id(self) -> str:
        """`digits/nw/all/seed0`: the folder below the study's."""
        return f"{self.dataset}/{self.model}/{self.size}/seed{self.seed}"

    @property
    def folder(self) -> Path:
        """results/<study>/<data set>/<model>/<size>/seed<k>."""
        return self.study_folder / self.id

    @property
    def origin(self) -> dict[str, str]:
        """What files of the run say that they are of."""
        return {"study": self.study_folder.name, "run": self.id}

    @property
    def weights(self) -> Path:
        """What the run trained."""
        return self.folder / "model.safetensors"

    @property
    def record(self) -> Path:
        """The run's record: settings, seeds, versions, times."""
        return self.folder / "run.json"

    @property
    def history(self) -> Path:
        """One row an epoch of the training."""
        return self.folder / "history.csv"

    @property
    def adversarial_patch(self) -> Path:
        """The adversarial patch trained against this run."""
        return self.folder / "adversarial_patch.safetensors"

    @property
    def support_folder(self) -> Path:
        """The support store."""
        return self.folder / "support"

    @property
    def support(self) -> Path:
        """What inference needs of the training images."""
        return self.support_folder / "support.safetensors"

    @property
    def gallery(self) -> Path:
        """Prepared training images; may be deleted, and is filled again when needed."""
        return self.support_folder / "gallery.safetensors"

    def queries(self, evaluation_set: str) -> Path:
        """Embedded images of an evaluation set."""
        return self.support_folder / f"queries@{evaluation_set}.safetensors"

    def predictions(self, mode: str, evaluation_set: str) -> Path:
        """Per-query results of an evaluation."""
        return self.folder / "eval" / f"{mode}@{evaluation_set}" / "predictions.parquet"

    def explanations(self, mode: str, evaluation_set: str) -> Path:
        """Explanation records."""
        return self.folder / "explain" / f"{mode}@{evaluation_set}.parquet"

    def analysis(self, analysis: Analysis, evaluation_set: str) -> Path:
        """What an analysis left."""
        return self.folder / "analyses" / f"{analysis.name}@{evaluation_set}.{analysis.suffix}"

    def log(self, stage: str) -> Path:
        """The log of a stage."""
        return self.folder / "logs" / f"{stage}.log"


@dataclass(frozen=True)
class Evaluation:
    """One evaluation: (run, inference mode, evaluation set)."""

    run: RunSpec
    mode: str
    evaluation_set: str

    @property
    def origin(self) -> dict[str, str]:
        """What files of the evaluation say that they are of."""
        return {**self.run.origin, "mode": self.mode, "evaluation_set": self.evaluation_set}

    @property
    def predictions(self) -> Path:
        """Per-query results."""
        return self.run.predictions(self.mode, self.evaluation_set)

    @property
    def explanations(self) -> Path:
        """Explanation records."""
        return self.run.explanations(self.mode, self.evaluation_set)


@dataclass(frozen=True)
class AnalysisRun:
    """One analysis of a run on an evaluation set."""

    run: RunSpec
    analysis: Analysis
    evaluation_set: str

    @property
    def origin(self) -> dict[str, str]:
        """What the output says that it is of."""
        return {**self.run.origin, "analysis": self.analysis.name, "evaluation_set": self.evaluation_set}

    @property
    def output(self) -> Path:
        """What the analysis left."""
        return self.run.analysis(self.analysis, self.evaluation_set)


class Plan(Study):
    """A study, and the folder that holds its results."""

    root: Path = Field(exclude=True)

    @classmethod
    def of(cls, study: Study, root: Path = Path("results")) -> Plan:
        """The plan of a checked study.

        Args:
            study: The study.
            root: Folder that holds `<study>/` and `data/`.
        """
        return cls.model_construct(**dict(study), root=root)

    @property
    def heading(self) -> str:
        """The title, or the name without one."""
        return self.title or self.name

    @property
    def folder(self) -> Path:
        """results/<study>."""
        return self.root / self.name

    @property
    def path(self) -> Path:
        """results/<study>/plan.json."""
        return self.folder / "plan.json"

    def human_study(self, name: str) -> Path:
        """The numbers of people's responses."""
        return self.folder / "human_study" / f"{name}.csv"

    def data_folder(self, dataset: str) -> Path:
        """results/data/<prepared form>, shared by all studies."""
        return self.root / "data" / self.datasets[dataset].prepared

    # Models ---------------------------------------------------------------------------------------

    @property
    def baseline_model(self) -> str:
        """Model that paired comparisons refer to: the one named, else the first that classifies."""
        return self.baseline or next((name for name, model in self.models.items() if model.classifies), "")

    def settings_of(self, run: RunSpec) -> Any:
        """A run's model entry of the study, the training as it is on the run's data set."""
        return self._settings[run.model, run.dataset]

    @cached_property
    def _settings(self) -> dict[tuple[str, str], MethodSettings]:
        settings = {}
        for model, entry in self.models.items():
            for dataset in self.datasets:
                training = entry.own_training
                chosen = None if training is None else training.on(dataset)
                settings[model, dataset] = (
                    entry if chosen is training else entry.model_copy(update={"training": chosen})
                )
        return settings

    def owner_of(self, model: str) -> str:
        """The model whose entry says which network this one has: itself, or where `backbone_from` leads in the end."""
        while giver := self.models[model].network_from:
            model = giver
        return model

    def backbone_of(self, model: str) -> BackboneSettings:
        """The network of a model, its own or the one it takes over."""
        backbone = self.models[self.owner_of(model)].own_backbone
        assert backbone is not None, model
        return backbone

    def giver_of(self, run: RunSpec) -> RunSpec | None:
        """The run that gives a run's network: same data set, size and seed; None for a network of its own."""
        giver = self.models[run.model].network_from
        return None if giver is None else self.run_spec(run.dataset, giver, run.size, run.seed)

    def weights_of(self, run: RunSpec) -> Path | None:
        """The file of weights that a run reads: its own, its giver's, or None where its entry names one."""
        if self.models[run.model].own_training is not None:
            return run.weights
        giver = self.giver_of(run)
        return None if giver is None else self.weights_of(giver)

    def patching_run(self, run: RunSpec) -> RunSpec:
        """The run against which the adversarial patch on the images of a run was trained."""
        model = run.model if self.adversarial_patch is None else self.adversarial_patch.model
        return self.run_spec(run.dataset, model, run.size, run.seed)

    # Runs -----------------------------------------------------------------------------------------

    @property
    def sizes(self) -> list[str]:
        """Training sizes as they stand in paths."""
        return [str(size) for size in self.train_sizes]

    def run_spec(self, dataset: str, model: str, size: str, seed: int) -> RunSpec:
        """The run of a data set, model, training size and seed."""
        return RunSpec(self.folder, dataset, model, size, seed)

    def cells(self) -> Iterator[tuple[str, str, str]]:
        """Data set, model and size of every run, in the order of the study."""
        for dataset in self.datasets:
            for model in self.models:
                for size in self.sizes:
                    if self.has_cell(dataset, model, size):
                        yield dataset, model, size

    def has_cell(self, dataset: str, model: str, size: str) -> bool:
        """Whether a model runs on a data set at a size."""
        entry, settings = self.models[model], self.datasets[dataset]
        return (
            settings.models_of is None
            and (entry.datasets is None or dataset in entry.datasets)
            and all(sizes is None or size in map(str, sizes) for sizes in (entry.train_sizes, settings.train_sizes))
        )

    def runs(self, seeds: Sequence[int] | None = None) -> Iterator[RunSpec]:
        """Runs of all seeds or some, in the order of the study."""
        for dataset, model, size in self.cells():
            for seed in self.seeds if seeds is None else seeds:
                yield self.run_spec(dataset, model, size, seed)

    def trained_runs(self) -> Iterator[RunSpec]:
        """Runs that train something, and so leave weights and a history of their own."""
        return (run for run in self.runs() if self.models[run.model].own_training is not None)

    def run(self, name: str) -> RunSpec:
        """The run of an id such as `digits/nw/all/seed0`.

        Raises:
            LookalikeError: The study has no such run.
        """
        parts = name.split("/")
        if len(parts) == 4 and parts[3].removeprefix("seed").isdecimal():
            dataset, model, size, seed = parts
            run = self.run_spec(dataset, model, size, int(seed.removeprefix("seed")))
            is_entry = dataset in self.datasets and model in self.models and size in self.sizes
            if run.id == name and is_entry and run.seed in self.seeds and self.has_cell(dataset, model, size):
                return run
        raise LookalikeError(f"{self.path} has no run {name!r}; `lookalike plan` lists them.")

    def seeds_of(self, run: RunSpec) -> RunSeeds:
        """The seeds of a run's purposes."""
        return RunSeeds(self.seed, run.dataset, run.size, run.seed, run.id)

    # Evaluation sets ------------------------------------------------------------------------------

    def sets_evaluated_with(self, dataset: str) -> list[str]:
        """The entries whose images the models of a data set classify too."""
        return [name for name, settings in self.datasets.items() if settings.evaluated_with == dataset]

    def ood_sets(self, dataset: str, size: str) -> list[str]:
        """The entries whose images are out-of-distribution to the models of a data set, trained at a size."""
        return [
            name
            for name, settings in self.datasets.items()
            if settings.ood_for == dataset and (settings.train_sizes is None or size in map(str, settings.train_sizes))
        ]

    def sets_of(self, dataset: str) -> list[str]:
        """The evaluation sets of a data set's runs: its own, and those of other entries that have its classes."""
        wanted = self.datasets[dataset].evaluation_sets
        sets = [name for name in self.evaluation_sets if wanted is None or name in wanted]
        return sets + self.sets_evaluated_with(dataset)

    def unchanged_sets(self) -> list[str]:
        """The evaluation sets that show a data set's own images as they are: embedded together with the support."""
        return [name for name in self.evaluation_sets if is_unchanged(name)]

    def sets_embedded_later(self, run: RunSpec) -> list[str]:
        """The evaluation sets of a run that are embedded by jobs of their own: changed, or of another entry."""
        sets = [name for name in self.sets_of(run.dataset) if name not in self.unchanged_sets()]
        return sets + self.ood_sets(run.dataset, run.size)

    def is_patched(self, dataset: str) -> bool:
        """Whether some images of a data set carry the adversarial patch."""
        names = [name for name in self.sets_of(dataset) if name in self.evaluation_sets]
        return any(parse_evaluation_set(name).patched for name in names)

    def carries_adversarial_patch(self, run: RunSpec) -> bool:
        """Whether an adversarial patch is trained against a run."""
        patch = self.adversarial_patch
        return patch is not None and run.model == patch.model and self.is_patched(run.dataset)

    # What runs leave ------------------------------------------------------------------------------

    def evaluations(self) -> Iterator[Evaluation]:
        """All evaluations on images of known classes."""
        for run in self.runs():
            yield from self.evaluations_of(run)

    def evaluations_of(self, run: RunSpec) -> Iterator[Evaluation]:
        """Evaluations of a run on images of known classes."""
        for mode in self.models[run.model].modes:
            for name in self.sets_of(run.dataset):
                yield Evaluation(run, mode, name)

    def ood_evaluations(self) -> Iterator[Evaluation]:
        """Evaluations on images of no known class, each model's in its first mode."""
        for run in self.runs():
            yield from self.ood_evaluations_of(run)

    def ood_evaluations_of(self, run: RunSpec) -> Iterator[Evaluation]:
        """Evaluations of a run on images of no known class, in its first mode."""
        for mode in self.models[run.model].modes[:1]:
            for name in self.ood_sets(run.dataset, run.size):
                yield Evaluation(run, mode, name)

    def shown_explanations(self) -> dict[str, Evaluation]:
        """Explanations that are drawn, those of the first seed: `digits-nw-all-full-test` -> evaluation."""
        shown = {}
        for run in self.runs(self.seeds[:1]):
            for mode in self.models[run.model].explain:
                for name in self.unchanged_sets():
                    shown["-".join((run.dataset, run.model, run.size, mode, name))] = Evaluation(run, mode, name)
        return shown

    def analyses(self) -> Iterator[AnalysisRun]:
        """All analyses that the study asks for."""
        for run in self.runs():
            yield from self.analyses_of(run)

    def analyses_of(self, run: RunSpec) -> Iterator[AnalysisRun]:
        """The analyses of a run."""
        entry = self.models[run.model]
        for analysis in entry.analyses:
            if not analysis.key or key_of(entry, analysis.key) is not None:
                for name in self.unchanged_sets():
                    yield AnalysisRun(run, analysis, name)

    def analysis_of(self, run: RunSpec, name: str) -> Analysis:
        """The analysis of a run by its name.

        Raises:
            LookalikeError: The method has none of that name, or the model's settings do not ask for it.
        """
        entry = self.models[run.model]
        analyses = {analysis.name: analysis for analysis in entry.analyses}
        if name not in analyses:
            names = ", ".join(analyses) or "none"
            raise LookalikeError(f"{run.id} has no analysis {name!r}; method {entry.method} has {names}.")
        key = analyses[name].key
        if key and key_of(entry, key) is None:
            raise LookalikeError(
                f"{run.id} asks for no {name}; write\n" + as_yaml(("models", run.model, *key.split(".")), "{}")
            )
        return analyses[name]

    # plan.json ------------------------------------------------------------------------------------

    def as_json(self) -> dict[str, Any]:
        """The content of plan.json."""
        return {"plan_version": PLAN_VERSION, "study": self.model_dump(mode="json")}

    def write(self) -> None:
        """Write plan.json unless it says the same already: its time stamp tells when the study changed."""
        with suppress(LookalikeError):  # missing or damaged
            if digest(read_json(self.path)) == digest(self.as_json()):
                return
        write_json(self.path, self.as_json())

    @classmethod
    def read(cls, path: Path) -> Plan:
        """Read plan.json.

        Raises:
            LookalikeError: The file is missing, of another version, or no plan.
        """
        values = read_json(path)
        version = values.get("plan_version") if isinstance(values, dict) else None
        if version != PLAN_VERSION:
            raise LookalikeError(
                f"{path} has plan version {version}, this lookalike writes {PLAN_VERSION}; "
                "run the study again to write it anew."
            )
        try:
            study = check_study(values.get("study"), "its study")  # a bundle's may come from a stranger
        except LookalikeError as error:
            reason = str(error).splitlines()[0]
            raise LookalikeError(f"{path} is no plan ({reason}); run the study again to write it anew.") from None
        return cls.of(study, path.parent.parent)
