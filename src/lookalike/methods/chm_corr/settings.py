"""Settings of `chm_corr`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from lookalike.contracts.settings import ReadFrom, Settings, TrainingSettings, WeightsFile
from lookalike.methods.chm_corr import KernelKind
from lookalike.methods.reranking.settings import RerankInference, RerankingSettings

Modes = Annotated[tuple[Literal["vote", "key_points"], ...], Field(min_length=1), ReadFrom(None)]


class CorrespondenceSettings(Settings):
    """The matching network."""

    weights: Annotated[str | None, WeightsFile("lookalike.methods.chm_corr.network:write_random_weights")] = Field(
        None, description="Path of a CHMNet checkpoint of its authors (.pt), which then needs no `training`."
    )
    kernel: KernelKind = Field("psi", description="How the weights of the kernels are shared.")
    channels: Annotated[int, Field(ge=1)] = Field(32, description="Channels of the pyramid; the authors' has 256.")


class CHMCorrInference(RerankInference):
    """Settings of the score; `compat: upstream` has the original's transposed cells and mismatched frames."""

    threshold: Annotated[float, Field(ge=0, le=1)] = Field(
        0.55,
        description="Value of the query's cross-correlation, least 0 and most 1, from which a patch counts.",
    )


class CHMCorrSettings(RerankingSettings):
    """Study entry of `chm_corr`."""

    citations: ClassVar[tuple[str, ...]] = (
        *RerankingSettings.citations,
        "J. Min, S. Kim and M. Cho. Convolutional Hough Matching Networks for Robust and Efficient Visual "
        "Correspondence. TPAMI, 2022; CVPR, 2021.",
    )
    key_point_modes: ClassVar[tuple[str, ...]] = ("key_points",)
    commands: ClassVar[str] = "lookalike.methods.chm_corr.commands"
    method: Literal["chm_corr"] = Field(description="Vote of the candidates whose corresponding patches are alike.")
    modes: Modes = Field(  # type: ignore[assignment]
        ("vote",), description="Patches that count: those that matter to the exemplar, or those at key points."
    )
    correspondence: CorrespondenceSettings = Field(CorrespondenceSettings(), description="The matching network.")
    training: TrainingSettings | None = Field(None, description="Training of the matching network on random warps.")
    inference: Annotated[CHMCorrInference, ReadFrom("embed")] = Field(
        CHMCorrInference(), description="Settings of candidates, score and vote."
    )

    @model_validator(mode="after")
    def _one_matching_network(self) -> CHMCorrSettings:
        if (self.training is None) == (self.correspondence.weights is None):
            raise ValueError("give either training: {...} or correspondence: {weights: FILE}")
        if self.compat and self.correspondence.weights is None:
            raise ValueError("compat: upstream needs the authors' network, correspondence: {weights: FILE}")
        return self
