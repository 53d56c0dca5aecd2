"""Settings of `dense_flow`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from lookalike.contracts.citations import DENSE_FLOW
from lookalike.contracts.settings import BackboneSettings, ReadFrom, TrainedSettings, TrainingSettings


def check_precision(training: TrainingSettings | None) -> None:
    """Raise ValueError where losses would be scaled: what overflows then is meant to, and no bad step."""
    if training is not None and training.precision == "16-mixed":
        raise ValueError("training.precision 16-mixed scales losses, which flows do not bear; write bf16-mixed")


class DenseFlowSettings(TrainedSettings):
    """Study entry of `dense_flow`."""

    has_gradient: ClassVar[bool] = False
    classifies: ClassVar[bool] = False
    citations: ClassVar[tuple[str, ...]] = (DENSE_FLOW,)
    metrics: ClassVar[tuple[str, ...]] = ("lookalike.methods.dense_flow.metrics",)
    ood_scores: ClassVar[dict[str, int]] = {"log_density": 1}
    method: Literal["dense_flow"] = Field(description="Density of images; no classes.")
    backbone: BackboneSettings = Field(BackboneSettings(name="dense_flow_small"), description="The flow.")
    modes: Annotated[tuple[Literal["density"]], ReadFrom(None)] = Field(
        ("density",), description="`density`: log-density of each image."
    )
    explain: Annotated[tuple[()], ReadFrom(None)] = Field((), description="Nothing: a density has no exemplars.")

    @model_validator(mode="after")
    def _precision_fits(self) -> DenseFlowSettings:
        check_precision(self.training)
        return self
