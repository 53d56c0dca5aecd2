"""Settings shared by all methods, as they stand in a study's YAML."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

Share = Annotated[float, Field(gt=0, le=1)]


class Settings(BaseModel):
    """Base of every settings class: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class BackboneSettings(Settings):
    """The network that turns images into features."""

    name: str = Field("small_cnn", description="A name from the backbone registry.")
    weights: str | None = Field(
        None, description="A .safetensors or .pth file to start from; random initialisation without it."
    )


class TrainingSettings(Settings):
    """Optimiser, schedule and augmentation of one training."""

    epochs: Annotated[int, Field(ge=1)] = 30
    batch_size: Annotated[int, Field(ge=1)] = 64
    micro_batch: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Images that pass the network at once; gradients of a batch's parts are added up."
    )
    optimizer: Literal["sgd", "adam", "adamax", "adamw"] = "sgd"
    lr: Annotated[float, Field(gt=0)] = 0.1
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    nesterov: bool = True
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    schedule: Literal["constant", "multistep", "cosine"] = "cosine"
    milestones: tuple[int, ...] = Field((), description="Epochs at which `multistep` multiplies the rate by `gamma`.")
    gamma: Annotated[float, Field(gt=0)] = 0.1
    final_lr: Annotated[float, Field(ge=0)] = Field(0, description="Where `cosine` ends.")
    warmup_epochs: Annotated[float, Field(ge=0)] = 0
    clip_gradient: Annotated[float, Field(gt=0)] | None = Field(None, description="Largest gradient norm.")
    ema: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None, description="Keep a moving average of the weights, so much of it kept at a step; usually 0.999."
    )
    drop_last: bool = Field(False, description="Leave out the last, smaller batch of an epoch.")
    crop_padding: Annotated[int, Field(ge=0)] = Field(0, description="Random crop after padding by so many pixels.")
    flip: bool = Field(False, description="Random horizontal flip.")
    resized_crop: tuple[Share, Share] | None = Field(
        None, description="Photographs: random crop of so large a share of the area, resized; usually [0.08, 1]."
    )
    devices: Annotated[int, Field(ge=1)] = Field(
        1, description="GPUs of one run, each with its part of every batch; processes where there is no GPU."
    )
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    checkpoint_seconds: Annotated[float, Field(ge=0)] = Field(
        60, description="Seconds between checkpoints; 0 writes one after every step."
    )
    by_dataset: dict[str, dict[str, Any]] = Field(
        default={}, description="What differs on one data set: its name -> keys of `training`."
    )

    @model_validator(mode="after")
    def _overrides_fit(self) -> TrainingSettings:
        common = self.model_dump(exclude={"by_dataset"})
        for dataset, different in self.by_dataset.items():
            if "by_dataset" in different:
                raise ValueError(f"by_dataset.{dataset} has by_dataset again; write its keys there themselves")
            try:
                TrainingSettings.model_validate({**common, **different})
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
        return self


class JobResources(Settings):
    """What a job of one stage asks of a cluster; memory and time are doubled once where it fails."""

    mem_mb: Annotated[int, Field(ge=100)] | None = Field(None, description="Memory in MB.")
    runtime: Annotated[int, Field(ge=1)] | None = Field(None, description="Minutes.")
    gpu: Annotated[int, Field(ge=0)] | None = Field(None, description="GPUs.")


class PatchSettings(Settings):
    """The adversarial patch of a study, for evaluation sets such as `test-patch`."""

    model: str = Field(description="The model it is made against; every model is evaluated on it.")
    target: Annotated[int, Field(ge=0)] = Field(859, description="Class index; ImageNet's 859 is the toaster.")
    shape: Literal["circle", "square"] = "circle"
    area: Annotated[float, Field(gt=0, lt=1)] = Field(0.05, description="Share of the image's area.")
    confidence: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.9, description="Of the target, at which an image is done."
    )
    iterations: Annotated[int, Field(ge=1)] = Field(1000, description="Most steps on one image.")
    images: Annotated[int, Field(ge=1)] = Field(20000, description="Training images it passes in an epoch.")
    epochs: Annotated[int, Field(ge=1)] = 20
