"""The plan: what a study resolves to. Stages read it, and find through it every path they touch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lookalike.errors import LookalikeError
from lookalike.files import digest, read_json, write_json
from lookalike.seeds import derive_seed

PLAN_VERSION = 6
PLACE_KEYS = ("datasets", "sizes")  # settings that say where a model runs, not how
EXPLANATION_KEYS = (
    "heat_maps",
    "counterfactuals",
    "correspondences",
)  # of `inference`: support and predictions do not read them
MEMORY_KEY = "gallery_gb"  # of `inference`: changes no result
LATE_KEYS = ("voters", "temperature")  # of `inference`: act on what is stored
INFERENCE_KEYS = ("modes", "explain", "inference")  # settings that training does not read


def named_weights(settings: dict[str, Any]) -> dict[str, str]:
    """The weights files that a model's settings name: `backbone`, `correspondence` -> path."""
    found = {part: (settings.get(part) or {}).get("weights") for part in ("backbone", "correspondence")}
    return {part: path for part, path in found.items() if path}


def is_unchanged(evaluation_set: str) -> bool:
    """Whether an evaluation set shows its images as they are; only those are explained in pictures."""
    return "-" not in evaluation_set


@dataclass(frozen=True)
class RunSpec:
    """One run: (data set, model, training size, seed) and the folder it owns."""

    plan: Plan = field(repr=False, compare=False)
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
        return self.plan.folder / self.id

    @property
    def data_folder(self) -> Path:
        """The prepared data set."""
        return self.plan.data_folder(self.dataset)

    @property
    def settings(self) -> dict[str, Any]:
        """The model entry of the study, all defaults filled in, the training as it is on this data set."""
        entry: dict[str, Any] = self.plan.models[self.model]
        different = (entry.get("training") or {}).get("by_dataset")
        if not different:
            return entry
        training = {**entry["training"], **different.get(self.dataset, {}), "by_dataset": {}}
        return {**entry, "training": training}

    @property
    def training_settings(self) -> dict[str, Any]:
        """The settings that training reads; a change of any other re-trains nothing."""
        left_out = (*INFERENCE_KEYS, *PLACE_KEYS)
        return {key: value for key, value in self.settings.items() if key not in left_out}

    @property
    def inference_settings(self) -> dict[str, Any]:
        """What predictions read besides the weights."""
        left_out = ("training", "modes", "explain", *PLACE_KEYS)
        found = {key: value for key, value in self.settings.items() if key not in left_out}
        if "inference" in found:
            unread = (*EXPLANATION_KEYS, MEMORY_KEY)
            found["inference"] = {k: v for k, v in found["inference"].items() if k not in unread}
        return found

    @property
    def support_settings(self) -> dict[str, Any]:
        """What support and embedded queries read besides the weights: all of inference but what acts on these."""
        found = self.inference_settings
        if "inference" in found:
            found["inference"] = {key: value for key, value in found["inference"].items() if key not in LATE_KEYS}
        return found

    @property
    def explanation_settings(self) -> dict[str, Any]:
        """The settings that explanations read besides those of inference."""
        return {"heat_maps": self.settings.get("inference", {}).get("heat_maps")}

    @property
    def counterfactual_settings(self) -> dict[str, Any] | None:
        """The settings that scores of counterfactuals read besides those of inference; None where there are none."""
        found: dict[str, Any] | None = self.settings.get("inference", {}).get("counterfactuals")
        return found

    @property
    def correspondence_settings(self) -> dict[str, Any] | None:
        """The settings that scores of patch pairs read besides those of inference; None where there are none."""
        found: dict[str, Any] | None = self.settings.get("inference", {}).get("correspondences")
        return found

    @property
    def trained(self) -> bool:
        """Whether the run trains: a network, or what it puts on a frozen one."""
        return self.settings.get("training") is not None

    @property
    def source(self) -> RunSpec | None:
        """The run that gives the frozen backbone: same data set, size and seed; None for a network of its own."""
        name = self.settings.get("backbone_from")
        return None if name is None else RunSpec(self.plan, self.dataset, name, self.size, self.seed)

    @property
    def owner(self) -> RunSpec:
        """The run whose entry says which network this is: itself, or where `backbone_from` leads in the end."""
        return RunSpec(self.plan, self.dataset, self.plan.owner_of(self.model), self.size, self.seed)

    @property
    def weights(self) -> Path | None:
        """The network's file: the run's own, its source's, or None for a pretrained file."""
        if self.trained:
            return self.folder / "model.safetensors"
        return self.source.weights if self.source else None

    @property
    def support_folder(self) -> Path:
        """The support store."""
        return self.folder / "support"

    @property
    def patch(self) -> Path:
        """The adversarial patch that the images of this run's data set, size and seed carry."""
        model = (self.plan.patch or {}).get("model", self.model)
        return RunSpec(self.plan, self.dataset, model, self.size, self.seed).folder / "patch.safetensors"

    def queries(self, split: str) -> Path:
        """Embedded images of an evaluation set."""
        return self.support_folder / f"queries@{split}.safetensors"

    def predictions(self, mode: str, split: str) -> Path:
        """Per-query results of an evaluation."""
        return self.folder / "eval" / f"{mode}@{split}" / "predictions.parquet"

    def explanations(self, mode: str, split: str) -> Path:
        """Explanation records."""
        return self.folder / "explain" / f"{mode}@{split}.parquet"

    def counterfactuals(self, split: str) -> Path:
        """Scores of counterfactual images."""
        return self.folder / "counterfactuals" / f"{split}.parquet"

    def correspondences(self, split: str) -> Path:
        """Scores of patch pairs."""
        return self.folder / "correspondences" / f"{split}.parquet"

    def prototypes(self, split: str) -> Path:
        """Pictures of prototypes."""
        return self.folder / "prototypes" / f"{split}.safetensors"

    def log(self, stage: str) -> Path:
        """The log of a stage."""
        return self.folder / "logs" / f"{stage}.log"

    def seed_for(self, purpose: str, *more: str | int) -> int:
        """A seed for one purpose of this run."""
        return derive_seed(self.plan.seed, self.id, purpose, *more)

    @property
    def subset_seed(self) -> int:
        """The same for every model, so that methods of one seed train on the same images."""
        return derive_seed(self.plan.seed, self.dataset, self.seed, "subset")


@dataclass(frozen=True)
class Evaluation:
    """One evaluation: (run, inference mode, evaluation set)."""

    run: RunSpec
    mode: str
    split: str


@dataclass(frozen=True)
class Plan:
    """A resolved study.

    Attributes:
        study: its name, and its folder's.
        title: for reports.
        seed: the study's seed.
        datasets: name -> settings, and `prepared`, the folder below results/data.
        sizes, seeds, evaluation_sets: axes of the grid.
        models: name -> settings.
        baseline: model that paired comparisons refer to.
        explained_queries: queries a run explains.
        threads: CPU threads of one run.
        resources: `stage` or `stage/model` -> what its jobs ask of a cluster.
        runs_per_job: runs in one job of a cluster, from training to explanations; None for a job a stage and run.
        runs_per_gpu: runs that share a GPU at a time.
        patch: settings of the adversarial patch, where an evaluation set carries one.
        human_studies: name -> settings of people's responses that are analysed.
        published: files below workflow/published that results are compared with.
        root: the folder that holds `results/`.
    """

    study: str
    title: str
    seed: int
    datasets: dict[str, dict[str, Any]]
    models: dict[str, dict[str, Any]]
    sizes: list[str]
    seeds: list[int]
    evaluation_sets: list[str]
    baseline: str
    explained_queries: int
    threads: int
    resources: dict[str, dict[str, int]] = field(default_factory=dict)
    runs_per_job: int | None = None
    runs_per_gpu: int = 1
    patch: dict[str, Any] | None = None
    human_studies: dict[str, dict[str, Any]] = field(default_factory=dict)
    published: list[str] = field(default_factory=list)
    root: Path = Path("results")

    @property
    def folder(self) -> Path:
        """results/<study>."""
        return self.root / self.study

    @property
    def path(self) -> Path:
        """results/<study>/plan.json."""
        return self.folder / "plan.json"

    def human_study(self, name: str) -> Path:
        """The numbers of people's responses."""
        return self.folder / "human_study" / f"{name}.csv"

    def data_folder(self, dataset: str) -> Path:
        """results/data/<prepared form>, shared by all studies."""
        return self.root / "data" / str(self.datasets[dataset]["prepared"])

    def runs(self, seeds: Sequence[int] | None = None) -> Iterator[RunSpec]:
        """Runs of all seeds or some, in the order of the study."""
        for dataset, model, size in self.cells():
            for seed in self.seeds if seeds is None else seeds:
                yield RunSpec(self, dataset, model, size, seed)

    def cells(self) -> Iterator[tuple[str, str, str]]:
        """Data set, model and size of every run, in the order of the study."""
        for dataset in self.datasets:
            for model in self.models:
                for size in self.sizes:
                    if self.has_cell(dataset, model, size):
                        yield dataset, model, size

    def owner_of(self, model: str) -> str:
        """The model whose entry says which network this one has: itself, or where `backbone_from` leads in the end."""
        while source := self.models[model].get("backbone_from"):
            model = source
        return model

    def query_sets(self, dataset: str) -> list[str]:
        """The entries whose images the models of a data set classify too."""
        return [name for name, settings in self.datasets.items() if settings.get("queries_for") == dataset]

    def outlier_sets(self, dataset: str, size: str) -> list[str]:
        """The entries whose images the models of a data set, trained on so many of its own, should find strange."""
        return [
            name
            for name, settings in self.datasets.items()
            if settings.get("outliers_for") == dataset
            and (settings["sizes"] is None or size in map(str, settings["sizes"]))
        ]

    def sets_of(self, dataset: str) -> list[str]:
        """The evaluation sets of a data set's runs: its own, and those of other entries that have its classes."""
        wanted = self.datasets[dataset].get("evaluation_sets")
        own = [name for name in self.evaluation_sets if wanted is None or name in wanted]
        return own + self.query_sets(dataset)

    def is_patched(self, dataset: str) -> bool:
        """Whether some images of a data set carry the adversarial patch."""
        return any(name.endswith("-patch") for name in self.sets_of(dataset))

    def is_with_support(self, name: str) -> bool:
        """Whether an evaluation set is embedded together with the support: as it is, of the run's own data set."""
        return name in self.evaluation_sets and is_unchanged(name)

    def has_cell(self, dataset: str, model: str, size: str) -> bool:
        """Whether a model runs on a data set at a size."""
        if self.datasets[dataset].get("queries_for") or self.datasets[dataset].get("outliers_for"):
            return False
        wanted = self.models[model]["datasets"]
        limits = (self.models[model]["sizes"], self.datasets[dataset].get("sizes"))
        return (wanted is None or dataset in wanted) and all(
            sizes is None or size in map(str, sizes) for sizes in limits
        )

    def evaluations(self) -> Iterator[Evaluation]:
        """All evaluations."""
        for run in self.runs():
            for mode in run.settings["modes"]:
                for split in self.sets_of(run.dataset):
                    yield Evaluation(run, mode, split)

    def outliers(self) -> Iterator[Evaluation]:
        """Evaluations on images of no known class, each model's in its first mode."""
        for run in self.runs():
            for mode in run.settings["modes"][:1]:
                for name in self.outlier_sets(run.dataset, run.size):
                    yield Evaluation(run, mode, name)

    def explanations(self, seeds: Sequence[int] | None = None) -> Iterator[Evaluation]:
        """Evaluations that leave explanation records, of all seeds or some."""
        for run in self.runs(seeds):
            for mode in run.settings["explain"]:
                for split in filter(is_unchanged, self.evaluation_sets):
                    yield Evaluation(run, mode, split)

    def counterfactuals(self) -> Iterator[tuple[RunSpec, str]]:
        """Runs and evaluation sets whose counterfactual images are scored."""
        for run in self.runs():
            if run.counterfactual_settings is not None:
                for split in filter(is_unchanged, self.evaluation_sets):
                    yield run, split

    def correspondences(self) -> Iterator[tuple[RunSpec, str]]:
        """Runs and evaluation sets whose patch pairs are scored."""
        for run in self.runs():
            if run.correspondence_settings is not None:
                for split in filter(is_unchanged, self.evaluation_sets):
                    yield run, split

    def prototypes(self) -> Iterator[tuple[RunSpec, str]]:
        """Runs and evaluation sets whose prototypes are shown."""
        for run in self.runs():
            if "prototypes" in run.settings:
                for split in filter(is_unchanged, self.evaluation_sets):
                    yield run, split

    def run(self, name: str) -> RunSpec:
        """The run of an id such as `digits/nw/all/seed0`.

        Raises:
            LookalikeError: the study has no such run.
        """
        parts = name.split("/")
        if len(parts) == 4 and parts[3].removeprefix("seed").isdecimal():
            dataset, model, size, seed = parts
            run = RunSpec(self, dataset, model, size, int(seed.removeprefix("seed")))
            known = dataset in self.datasets and model in self.models and size in self.sizes
            if run.id == name and known and run.seed in self.seeds and self.has_cell(dataset, model, size):
                return run
        raise LookalikeError(f"{self.path} has no run {name!r}; `lookalike plan` lists them.")

    def as_json(self) -> dict[str, Any]:
        """The content of plan.json."""
        values = {key: value for key, value in vars(self).items() if key != "root"}
        return {"plan_version": PLAN_VERSION, **values}

    def write(self) -> None:
        """Write plan.json unless it says the same already: its time stamp tells when the study changed."""
        if not self.path.exists() or digest(read_json(self.path)) != digest(self.as_json()):
            write_json(self.path, self.as_json())

    @classmethod
    def read(cls, path: Path) -> Plan:
        """Read plan.json.

        Raises:
            LookalikeError: the file is missing, or of another version.
        """
        values = read_json(path)
        version = values.pop("plan_version", None) if isinstance(values, dict) else None
        if version != PLAN_VERSION:
            raise LookalikeError(
                f"{path} has plan version {version}, this lookalike writes {PLAN_VERSION}; "
                "run the study again to write it anew."
            )
        return cls(**values, root=path.parent.parent)
