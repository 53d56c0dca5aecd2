"""Settings of `protoflow`, and what its runs leave."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from lookalike.contracts.analysis import Analysis
from lookalike.contracts.citations import DENSE_FLOW
from lookalike.contracts.report import Column, ExplanationFigure, RunTable
from lookalike.contracts.settings import (
    BackboneSettings,
    Compat,
    ReadFrom,
    Settings,
    SmokeAtMost,
    TrainedSettings,
    TrainingSettings,
)
from lookalike.methods.dense_flow.settings import check_precision
from lookalike.methods.protoflow import Likelihood, PrototypeKind

FRACTION = (0.0, 1.0)
Dropout = Annotated[float, Field(ge=0, lt=1)]

HOW_MANY = RunTable(
    name="prototypes",
    label="how many prototypes are needed",
    columns=(
        Column("prototypes", "Prototypes", plain=".0f"),
        Column("accuracy_1", "Accuracy, all (%)", 100, 2),
        Column("accuracy_0.5", "with half of the others (%)", 100, 2),
        Column("accuracy_0", "with one a class (%)", 100, 2),
        Column("bits_per_dim", "Bits/dim", 1, 3),
        Column("reconstruction_error", "There and back, error", over_seeds="max", plain=".1e"),
        Column("changed_pixels", "pixels changed", over_seeds="max", plain=".0f"),
    ),
    rows="lookalike.methods.protoflow.analyses:summarise_prototypes",
    mode_heading="",
    caption="Prototypes: accuracy with all of them, and with the least used ones taken away; bits a dimension, a "
    "bound; mean and 95 % t interval over seeds. There and back: largest difference of a pixel (0 to 1) between a test "
    "image and the inverse of its latents, and pixels of the whole set that differ once rounded, over all seeds.",
)
PROTOTYPES = Analysis(
    name="prototypes",
    title="Show the prototypes",
    compute="lookalike.methods.protoflow.analyses:show_prototypes",
    suffix="safetensors",
    tables=("prototypes",),
    figures=("prototypes", "between"),
)
LOOKS_LIKE = ExplanationFigure(
    kind="looks_like",
    label="prototypes that queries look like",
    caption="The prototypes that a query looks most like, as the inverse of their means: probability, and share of the "
    "query among the prototypes of that class; beside each the training images of highest density under it. Blue "
    "frame: the query's true class; orange: another.",
    draw="lookalike.methods.protoflow.drawing:draw_looks_like",
)
SHEET = ExplanationFigure(
    kind="prototypes",
    label="prototypes and their samples",
    caption="Each prototype as the inverse of its mean, with its share of its class's training images; one sample of "
    "it, its deviations and those of the halves that the flow drops times 0.5, 0.75 and 1; and the training images of "
    "highest density under it.",
    draw="lookalike.methods.protoflow.drawing:draw_prototypes",
)
BETWEEN = ExplanationFigure(
    kind="between",
    label="between two prototypes",
    caption="Inverses of points on the straight way between the means of two classes' most used prototypes.",
    draw="lookalike.methods.protoflow.drawing:draw_between",
)


class PrototypeSettings(Settings):
    """The mixtures."""

    components: Annotated[int, Field(ge=1), SmokeAtMost(2)] = Field(10, description="Prototypes of each class.")
    kind: PrototypeKind = Field("diagonal", description="Which variances are free.")
    likelihood: Likelihood = Field("total", description="All prototypes of a class together, or the best one.")
    init: Literal["kmeans", "em", "random", "weights"] = Field(
        "kmeans",
        description="Start of the prototypes: means from clusters of the training latents; `em` sets variances and "
        "weights too; `weights` takes all from the authors' classifier that `backbone.weights` names.",
    )
    lr_factor: Annotated[float, Field(gt=0)] = Field(10, description="Their learning rate over that of the flow.")
    dropout: Dropout = Field(0, description="Share of prototypes left out at a training step.")


class LossSettings(Settings):
    """Terms besides the cross-entropy of the posterior and the class-conditional bits a dimension."""

    consistency: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Epochs over which the bits a dimension of the class predicted from another view rise to 1."
    )
    diversity: bool = Field(False, description="Push the prototypes of a class apart.")
    cluster: bool = Field(False, description="Pull each prototype to the nearest latents of its class.")
    base: bool = Field(False, description="Bits a dimension under a density that all classes share.")
    base_prototypes: bool = Field(
        False, description="Bits a dimension of the prototypes themselves under that density; needs `base`."
    )

    @model_validator(mode="after")
    def _base_is_there(self) -> LossSettings:
        if self.base_prototypes and not self.base:
            raise ValueError("base_prototypes needs base: true, which trains the density it uses")
        return self


class ProtoFlowInference(Settings):
    """Settings of the posterior."""

    samples: Annotated[int, Field(ge=1), SmokeAtMost(2)] = Field(
        1, description="Draws of the flow's noises for each image."
    )
    views: bool = Field(False, description="Each further draw sees the image moved as training moves it.")
    temperature: Annotated[float, Field(ge=1e-6, le=1e6), ReadFrom("evaluate")] = Field(
        1, description="Number that log-densities are divided by."
    )


class ProtoFlowSettings(TrainedSettings):
    """Study entry of `protoflow`; `compat: upstream` averages log-densities over draws, not densities."""

    has_gradient: ClassVar[bool] = False  # a flow takes whole numbers
    citations: ClassVar[tuple[str, ...]] = (
        "Z. Carmichael, T. Redgrave, D. Gonzalez Cedre and W. J. Scheirer. This Probably Looks Exactly Like That: An "
        "Invertible Prototypical Network. ECCV, 2024. arXiv 2407.12200.",
        DENSE_FLOW,
    )
    analyses: ClassVar[tuple[Analysis, ...]] = (PROTOTYPES,)
    tables: ClassVar[tuple[RunTable, ...]] = (HOW_MANY,)
    figures: ClassVar[tuple[ExplanationFigure, ...]] = (LOOKS_LIKE, SHEET, BETWEEN)
    metrics: ClassVar[tuple[str, ...]] = (
        "lookalike.methods.dense_flow.metrics",
        "lookalike.methods.protoflow.metrics",
    )
    ood_scores: ClassVar[dict[str, int]] = {"log_density": 1, "typicality": 1}
    method: Literal["protoflow"] = Field(description="Density of a flow's latents under prototypes of each class.")
    backbone_from: str | None = Field(None, description="A `dense_flow` model whose run of the same seed starts it.")
    modes: Annotated[tuple[Literal["posterior"], ...], Field(min_length=1), ReadFrom(None)] = Field(
        ("posterior",), description="`posterior`: classes by the density of the query under their prototypes."
    )
    explain: Annotated[tuple[Literal["posterior"], ...], ReadFrom(None)] = Field(
        ("posterior",), description="Modes that leave explanation records: the prototypes a query looks like."
    )
    backbone: BackboneSettings | None = Field(  # type: ignore[assignment]
        None, description="The flow, where no other model starts it."
    )
    training: TrainingSettings | None = Field(  # type: ignore[assignment]
        TrainingSettings(), description="Optimiser, schedule and augmentation; null where nothing is trained."
    )
    trains: Literal["all", "flow", "prototypes", "means"] = Field(
        "all",
        description="Part that is trained: `prototypes` leaves the flow as it is, `means` trains it and the "
        "prototypes' means.",
    )
    latent_dropout: Dropout = Field(0, description="Share of latents set to 0 at a training step.")
    prototypes: PrototypeSettings = Field(PrototypeSettings(), description="The mixtures.")
    losses: LossSettings = Field(LossSettings(), description="Further terms of the loss.")
    inference: Annotated[ProtoFlowInference, ReadFrom("embed")] = Field(
        ProtoFlowInference(), description="Settings of the posterior."
    )
    compat: Annotated[Compat, ReadFrom("embed")] = None

    @model_validator(mode="after")
    def _one_flow(self) -> ProtoFlowSettings:
        if (self.backbone is None) == (self.backbone_from is None):
            raise ValueError("give either backbone: {name: dense_flow_small} or backbone_from: MODEL")
        published = self.prototypes.init == "weights"
        if published and (self.backbone is None or self.backbone.weights is None):
            raise ValueError("prototypes.init: weights needs backbone: {name: ..., weights: FILE}")
        check_precision(self.training)
        if self.losses.base and self.trains == "prototypes":
            raise ValueError("losses.base trains a density of the flow, which trains: prototypes leaves as it is")
        if self.training is None and not published:
            raise ValueError("training is left out, but nothing else makes prototypes; or write init: weights")
        return self
