"""Settings of `emd_corr`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lookalike.contracts.settings import ReadFrom
from lookalike.methods.reranking.settings import RerankInference, RerankingSettings


class EMDCorrInference(RerankInference):
    """Settings of the transport; `compat: upstream` is the original's Sinkhorn, which stops early and all at once."""

    marginals: Literal["attention", "uniform"] = Field(
        "attention", description="How much of a patch is moved: as it correlates with the other image, or equally."
    )
    entries: Annotated[int, Field(ge=1)] | None = Field(
        5, description="Largest entries of the plan that make the score; null for all."
    )
    mix_distance: bool = Field(False, description="Add the inner product of the whole maps, 1 for the best exemplar.")


class EMDCorrSettings(RerankingSettings):
    """Study entry of `emd_corr`."""

    method: Literal["emd_corr"] = Field(description="Vote of the candidates whose patches cost least to reach.")
    inference: Annotated[EMDCorrInference, ReadFrom("embed")] = Field(
        EMDCorrInference(), description="Settings of candidates, transport and vote."
    )
