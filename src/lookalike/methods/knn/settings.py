"""Settings of `knn`, the vote of the nearest training images."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from lookalike.contracts.citations import CORRESPONDENCE
from lookalike.contracts.settings import FrozenSettings, ReadFrom, Settings, SmokeAtMost


class KNNInference(Settings):
    """Settings of the vote."""

    k: Annotated[int, Field(ge=1), ReadFrom("evaluate"), SmokeAtMost(4)] = Field(
        20, description="Nearest training images that vote."
    )


class KNNSettings(FrozenSettings):
    """Study entry of `knn`."""

    citations: ClassVar[tuple[str, ...]] = (CORRESPONDENCE,)
    method: Literal["knn"] = Field(description="Vote of the nearest training images.")
    modes: Annotated[tuple[Literal["vote"], ...], Field(min_length=1), ReadFrom(None)] = Field(
        ("vote",), description="`vote`: the k nearest training images vote with equal weight."
    )
    explain: Annotated[tuple[Literal["vote"], ...], ReadFrom(None)] = Field(
        ("vote",), description="Modes that leave explanation records: the images that voted."
    )
    inference: Annotated[KNNInference, ReadFrom("embed")] = Field(KNNInference(), description="Settings of the vote.")
