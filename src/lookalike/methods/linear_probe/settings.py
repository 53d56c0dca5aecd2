"""Settings of `linear_probe`, a linear layer on a frozen network."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from lookalike.contracts.settings import FrozenSettings, ReadFrom, TrainingSettings


class LinearProbeSettings(FrozenSettings):
    """Study entry of `linear_probe`."""

    has_gradient: ClassVar[bool] = True
    method: Literal["linear_probe"] = Field(description="Linear layer on a frozen network.")
    modes: Annotated[tuple[Literal["linear"], ...], Field(min_length=1), ReadFrom(None)] = Field(
        ("linear",), description="`linear`: soft-max of the layer."
    )
    explain: Annotated[tuple[()], ReadFrom(None)] = Field((), description="Nothing: the layer has no exemplars.")
    training: TrainingSettings | None = Field(
        None,
        description="Training of the linear layer; left out, the layer is the weights file's own (`fc.weight`, "
        "`fc.bias`).",
    )

    @model_validator(mode="after")
    def _one_layer(self) -> LinearProbeSettings:
        if self.training is None and self.backbone is None:
            raise ValueError("give training: {...}, or backbone: {name: ..., weights: FILE} with a file that has fc.*")
        return self
