"""Settings of a study beside its models and data sets."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lookalike.contracts.settings import Settings, SmokeAtMost


class JobResources(Settings):
    """What a job of one stage asks of a cluster; memory and time are doubled once where it fails."""

    mem_mb: Annotated[int, Field(ge=100)] | None = Field(None, description="Memory in MB.")
    runtime: Annotated[int, Field(ge=1)] | None = Field(None, description="Time limit in minutes.")
    gpu: Annotated[int, Field(ge=0)] | None = Field(None, description="Number of GPUs.")


class AdversarialPatchSettings(Settings):
    """The adversarial patch of a study, for evaluation sets such as `test-adversarial_patch`."""

    model: str = Field(description="Name of the model it is trained against; every model is evaluated on it.")
    target: Annotated[int, Field(ge=0)] = Field(859, description="Class index; ImageNet's 859 is the toaster.")
    shape: Literal["circle", "square"] = Field("circle", description="Outline of the patch.")
    area: Annotated[float, Field(gt=0, lt=1)] = Field(0.05, description="Share of the image's area.")
    confidence: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.9, description="Probability of the target class at which an image is done."
    )
    iterations: Annotated[int, Field(ge=1), SmokeAtMost(2)] = Field(1000, description="Most steps on one image.")
    images: Annotated[int, Field(ge=1), SmokeAtMost(4)] = Field(
        20000, description="Training images that the patch passes in an epoch."
    )
    epochs: Annotated[int, Field(ge=1), SmokeAtMost(1)] = Field(20, description="Passes over these images.")
