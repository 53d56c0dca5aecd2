"""Settings of `fc`, the plain linear head."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lookalike.contracts.settings import ReadFrom, TrainedSettings


class FCSettings(TrainedSettings):
    """Study entry of `fc`."""

    method: Literal["fc"] = Field(description="Linear layer on pooled features.")
    modes: Annotated[tuple[Literal["linear"], ...], Field(min_length=1), ReadFrom(None)] = Field(
        ("linear",), description="`linear`: soft-max of the layer."
    )
    explain: Annotated[tuple[()], ReadFrom(None)] = Field((), description="Nothing: the layer has no exemplars.")
