"""Settings as they stand in a study's YAML, and what the workflow derives from them.

A settings class says, beside the values it takes, which stage reads a key first (`ReadFrom`), which keys name weights
files (`WeightsFile`), and how large a number may be in a smoke (`SmokeAtMost`). Pydantic alone: a study is read and a
plan is made without torch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from lookalike.contracts.analysis import Analysis
from lookalike.contracts.report import WEIGHTS, ExplanationFigure, RunTable

Share = Annotated[float, Field(gt=0, le=1)]
ReadingStage = Literal["train", "embed", "evaluate", "explain", "analyse"]
ORDER: tuple[ReadingStage, ...] = ("train", "embed", "evaluate", "explain")  # each reads what those before it read


@dataclass(frozen=True)
class ReadFrom:
    """Marks a key by the first stage that reads it; all later stages read it too, and keys below it alike.

    Attributes:
        stage: Name of the stage. `explain` and `analyse` keys are read by that stage alone; None changes no result.
    """

    stage: ReadingStage | None


@dataclass(frozen=True)
class WeightsFile:
    """Marks a key that names a file of weights.

    Attributes:
        random: `module:function` that writes random weights of the same form, for a smoke. It takes the settings that
            hold the key, the number of classes and the path.
    """

    random: str


@dataclass(frozen=True)
class SmokeAtMost:
    """Marks a number that a study in small cuts.

    Attributes:
        most: The largest value there.
    """

    most: float


@dataclass(frozen=True)
class SmokeOnce:
    """Marks a key that a study in small keeps for the first model of each method; the others get null."""


class Settings(BaseModel):
    """Base of every settings class: unknown keys are errors, values never change."""

    # Defaults pass validation too: a study that is read back from its plan has the same values, 0.0 and not 0.
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)

    @field_validator("*")
    @classmethod
    def _each_once(cls, value: Any) -> Any:
        """Lists are sets: a seed or a mode that is there twice would count twice in a mean. Floats are no names."""
        if isinstance(value, list | tuple) and not any(isinstance(entry, float) for entry in value):
            names = [entry if isinstance(entry, int | str) else repr(entry) for entry in value]
            twice = next((name for name, count in Counter(names).items() if count > 1), None)
            if twice is not None:
                raise ValueError(f"{twice!r} is there twice; write it once")
        return value


Marker = TypeVar("Marker")


def marker_of(field: FieldInfo, kind: type[Marker]) -> Marker | None:
    """The mark of a kind that a settings key has; None without one."""
    return next((mark for mark in field.metadata if isinstance(mark, kind)), None)


def marked_keys(settings: Settings, kind: type[Marker]) -> Iterator[tuple[tuple[str, ...], Any, Marker]]:
    """Path, value and mark of every key with a mark, those of nested settings included."""
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        mark = marker_of(field, kind)
        if mark is not None:
            yield (name,), value, mark
        if isinstance(value, Settings):
            yield from (((name, *path), *rest) for path, *rest in marked_keys(value, kind))  # type: ignore[misc]


def weights_files(settings: Settings) -> dict[str, str]:
    """The weights files that a model's settings name: `backbone.weights` -> path."""
    return {".".join(path): value for path, value, _ in marked_keys(settings, WeightsFile) if value}


def key_of(settings: Settings, path: str) -> Any:
    """The value of a dotted key such as `inference.counterfactuals`; None where the settings have no such key."""
    value: Any = settings
    for name in path.split("."):
        value = getattr(value, name, None)
    return value


def settings_read_by(settings: Settings, stage: ReadingStage, key: str = "") -> dict[str, Any]:
    """JSON of the keys that a stage reads: a change of any other does not make its results out of date.

    Args:
        settings: Settings of a model.
        stage: Name of the stage.
        key: Dotted key of an analysis' own settings, for stage `analyse`.
    """
    values = _keys_up_to(settings, "evaluate" if stage == "analyse" else stage)
    return {**values, key: to_jsonable_python(key_of(settings, key))} if key else values


def _keys_up_to(settings: Settings, stage: ReadingStage) -> dict[str, Any]:
    """The keys whose first reader is the stage or comes before it; a key without a mark is read with its block."""
    values: dict[str, Any] = {}
    for name, field in type(settings).model_fields.items():
        mark = marker_of(field, ReadFrom)
        first = "train" if mark is None else mark.stage
        if first not in ORDER or ORDER.index(first) > ORDER.index(stage):
            # A block that is read late may hold no key that is read early.
            continue
        value = getattr(settings, name)
        values[name] = _keys_up_to(value, stage) if isinstance(value, Settings) else to_jsonable_python(value)
    return values


class BackboneSettings(Settings):
    """The network that turns images into features."""

    name: str = Field("small_cnn", description="Name of a row of the backbone registry.")
    weights: Annotated[str | None, WeightsFile("lookalike.backbones.build:write_random_weights")] = Field(
        None, description="Path of a .safetensors, .pt or .pth file to start from; random initialisation without it."
    )


class TrainingSettings(Settings):
    """Optimiser, schedule and augmentation of one training."""

    epochs: Annotated[int, Field(ge=1), SmokeAtMost(1)] = Field(30, description="Passes over the training images.")
    batch_size: Annotated[int, Field(ge=1), SmokeAtMost(8)] = Field(64, description="Images a step.")
    micro_batch: Annotated[Annotated[int, Field(ge=1)] | None, SmokeAtMost(4)] = Field(
        None, description="Images that pass the network at once; gradients of a batch's parts are added up."
    )
    optimizer: Literal["sgd", "adam", "adamax", "adamw"] = Field("sgd", description="Name of the optimiser.")
    lr: Annotated[float, Field(gt=0)] = Field(0.1, description="Learning rate after the warm-up.")
    momentum: Annotated[float, Field(ge=0, lt=1)] = Field(0.9, description="Momentum of `sgd`.")
    nesterov: bool = Field(True, description="Nesterov's form of the momentum of `sgd`.")
    weight_decay: Annotated[float, Field(ge=0)] = Field(
        1e-4, description="Weight decay: L2 in the gradient, decoupled with `adamw`."
    )
    schedule: Literal["constant", "multistep", "cosine"] = Field(
        "cosine", description="Learning rate over time: `multistep` changes by epoch, `cosine` by step."
    )
    milestones: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (), description="Epochs at which `multistep` multiplies the rate by `gamma`."
    )
    gamma: Annotated[float, Field(gt=0)] = Field(0.1, description="Factor of `multistep` at each milestone.")
    final_lr: Annotated[float, Field(ge=0)] = Field(0, description="Learning rate at which `cosine` ends.")
    warmup_epochs: Annotated[float, Field(ge=0), SmokeAtMost(0.5)] = Field(
        0, description="Epochs over which the rate rises to `lr`."
    )
    clip_gradient: Annotated[float, Field(gt=0)] | None = Field(
        None, description="Largest norm of a step's gradient; unlimited when left out."
    )
    ema: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None,
        description="Share that a moving average of the weights keeps of itself at a step, usually 0.999; no average "
        "when left out.",
    )
    drop_last: bool = Field(False, description="Leave out the last, smaller batch of an epoch.")
    crop_padding: Annotated[int, Field(ge=0, le=64)] = Field(
        0, description="Pixels of padding before a random crop to the image's size."
    )
    flip: bool = Field(False, description="Random horizontal flip.")
    resized_crop: tuple[Share, Share] | None = Field(
        None,
        description="Least and largest share of a photograph's area in a random crop, which is resized; usually "
        "[0.08, 1]; no such crop when left out.",
    )
    devices: Annotated[int, Field(ge=1)] = Field(
        1, description="GPUs of one run, each with its part of every batch; processes where there is no GPU."
    )
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = Field(
        "32-true", description="Number format of the network's arithmetic."
    )
    checkpoint_seconds: Annotated[float, Field(ge=0)] = Field(
        60, description="Seconds between checkpoints; 0 writes one after every step."
    )
    by_dataset: dict[str, dict[str, Any]] = Field(
        default={}, description="Keys of `training` that differ on one data set, by the data set's name."
    )

    @model_validator(mode="after")
    def _overrides_fit(self) -> TrainingSettings:
        common = self.model_dump(exclude={"by_dataset"})
        for dataset, changes in self.by_dataset.items():
            if "by_dataset" in changes:
                raise ValueError(f"by_dataset.{dataset} has by_dataset again; write its keys there themselves")
            try:
                TrainingSettings.model_validate({**common, **changes})
            except ValidationError as error:
                first = error.errors()[0]
                key = ".".join(["by_dataset", dataset, *map(str, first["loc"])])
                raise ValueError(f"{key}: {first['msg'].removeprefix('Value error, ')}") from None
        return self

    @model_validator(mode="after")
    def _milestones_fit(self) -> TrainingSettings:
        if self.schedule == "multistep" and not self.milestones:
            raise ValueError("schedule multistep needs milestones, e.g. milestones: [100, 150]")
        if self.resized_crop is not None and self.resized_crop[0] > self.resized_crop[1]:
            raise ValueError("resized_crop must rise, e.g. resized_crop: [0.08, 1]")
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError("milestones must rise, e.g. milestones: [100, 150]")
        if self.warmup_epochs > self.epochs:
            raise ValueError(f"warmup_epochs is {self.warmup_epochs:g}, but epochs is {self.epochs}; warm up for less")
        return self

    def on(self, dataset: str) -> TrainingSettings:
        """The settings as they are on one data set."""
        changes = self.by_dataset.get(dataset)
        if changes is None:
            return self.model_copy(update={"by_dataset": {}}) if self.by_dataset else self
        return TrainingSettings.model_validate({**self.model_dump(), **changes, "by_dataset": {}})


Compat = Annotated[
    Literal["upstream"] | None,
    Field(
        description="`upstream` reproduces what the authors' code does where that differs from the paper or from what "
        "is right; the default is right."
    ),
]


class MethodSettings(Settings):
    """What every model entry of a study has; and, as class attributes, what the workflow knows of its method.

    Attributes:
        has_gradient: Whether the answer has a gradient by the image, which an adversarial patch follows.
        classifies: Whether the method gives classes, or models images alone.
        citations: Papers to cite where the method is used.
        analyses: What runs of the method leave beside predictions and explanations.
        tables: Tables that exist where a model of the method does.
        figures: Drawings of its explanation records, and of what its analyses leave.
        metrics: Modules with metrics of columns that its `query_metrics` add to the predictions.
        ood_scores: Columns of its predictions that tell images of no known class; 1 where higher means more like the
            training images, -1 where lower does.
        key_point_modes: Modes that need key points of the images.
        commands: Module with a Typer app of commands that belong to the method; empty for none.
    """

    has_gradient: ClassVar[bool] = False
    classifies: ClassVar[bool] = True
    citations: ClassVar[tuple[str, ...]] = ()
    analyses: ClassVar[tuple[Analysis, ...]] = ()
    tables: ClassVar[tuple[RunTable, ...]] = ()
    figures: ClassVar[tuple[ExplanationFigure, ...]] = (WEIGHTS,)
    metrics: ClassVar[tuple[str, ...]] = ()
    ood_scores: ClassVar[dict[str, int]] = {}
    key_point_modes: ClassVar[tuple[str, ...]] = ()
    commands: ClassVar[str] = ""

    method: str = Field(description="Name of the method.")
    modes: Annotated[tuple[str, ...], ReadFrom(None)] = Field(description="Ways to decide, each evaluated.")
    explain: Annotated[tuple[str, ...], ReadFrom(None)] = Field((), description="Modes that leave explanation records.")
    datasets: Annotated[Annotated[tuple[str, ...], Field(min_length=1)] | None, ReadFrom(None)] = Field(
        None, description="The study's data sets that this model runs on; all when left out."
    )
    train_sizes: Annotated[
        Annotated[tuple[Literal["all"] | Annotated[int, Field(ge=1)], ...], Field(min_length=1)] | None, ReadFrom(None)
    ] = Field(None, description="The study's training sizes that this model runs at; all when left out.")

    @property
    def own_training(self) -> TrainingSettings | None:
        """The training of the entry; None where nothing is trained."""
        return getattr(self, "training", None)

    @property
    def own_backbone(self) -> BackboneSettings | None:
        """The network that the entry names itself; None where another model gives it."""
        return getattr(self, "backbone", None)

    @property
    def network_from(self) -> str | None:
        """The model whose run of the same seed gives the network; None where the entry names one."""
        return getattr(self, "backbone_from", None)

    @property
    def explains_with_network(self) -> bool:
        """Whether explaining needs the network and the images, and so a GPU where there is one."""
        return False

    def support_images(self, n_classes: int) -> int:
        """Images that pass the network with each batch of a training: a support or a memory."""
        return 0

    @property
    def prepared_bytes(self) -> int:
        """Bytes of prepared training images that may be held while queries are embedded."""
        return 0

    @classmethod
    def explanation_figures(cls) -> tuple[ExplanationFigure, ...]:
        """Drawings of explanation records, without those that an analysis names."""
        of_analyses = {name for analysis in cls.analyses for name in analysis.figures}
        return tuple(figure for figure in cls.figures if figure.kind not in of_analyses)


class TrainedSettings(MethodSettings):
    """A method that trains its own network."""

    has_gradient: ClassVar[bool] = True
    backbone: BackboneSettings = Field(BackboneSettings(), description="The network that is trained.")
    training: TrainingSettings = Field(TrainingSettings(), description="Optimiser, schedule and augmentation.")


class FrozenSettings(MethodSettings):
    """A method on frozen features: of another model's run of the same seed, or of a weights file."""

    backbone_from: str | None = Field(None, description="The model whose run of the same seed gives the network.")
    backbone: BackboneSettings | None = Field(None, description="A pretrained network; `weights` is required.")

    @model_validator(mode="after")
    def _one_source(self) -> FrozenSettings:
        if (self.backbone_from is None) == (self.backbone is None):
            raise ValueError("give either backbone_from: MODEL or backbone: {name: ..., weights: FILE}")
        if self.backbone is not None and self.backbone.weights is None:
            raise ValueError("a frozen backbone needs weights: FILE")
        return self
