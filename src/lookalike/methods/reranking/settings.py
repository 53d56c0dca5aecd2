"""Settings that methods share which order nearest neighbours anew, and what their runs leave."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from lookalike.contracts.analysis import Analysis
from lookalike.contracts.citations import CORRESPONDENCE
from lookalike.contracts.explanation import SHOWN_EXEMPLARS
from lookalike.contracts.report import Column, ExplanationFigure, RunTable
from lookalike.contracts.settings import Compat, FrozenSettings, ReadFrom, Settings, SmokeAtMost

PAIR_SCORES = RunTable(
    name="correspondences",
    label="how right patch pairs are",
    columns=(
        Column("warp_pck", "PCK@0.1, warps (%)", 100, 1),
        Column("part_pck", "PCK@0.1, parts (%)", 100, 1),
        Column("same_part", "Pairs of one part (%)", 100, 1),
        Column("patches_taken", "Vote lost without patches (%)", 100, 1),
        Column("exemplars_taken", "Vote lost without exemplars (%)", 100, 1),
    ),
    rows="lookalike.methods.reranking.analyses:summarise_correspondences",
    mode_heading="",
    caption="Patch pairs. PCK@0.1: key points that arrive within a tenth of the side of where a random warp moved "
    "them, or of the same part in the nearest exemplars of the query's class; `nearest` takes the most similar patch, "
    "`cosine` plain cosines and CHMNet's transfer. Pairs of one part: drawn pairs whose query patch holds a part and "
    "whose exemplar patch holds it or is beside it; `random` takes any patch. Vote lost: by painting over the five "
    "patches that count most, or taking the shown exemplars away; `random` takes as many others. Mean and 95 % t "
    "interval over seeds.",
)
CORRESPONDENCES = Analysis(
    name="correspondences",
    title="Score patch pairs",
    compute="lookalike.methods.reranking.analyses:score_correspondences",
    suffix="parquet",
    key="inference.correspondences",
    tables=("correspondences",),
)
PAIRS = ExplanationFigure(
    kind="correspondences",
    label="patch pairs",
    caption="Nearest neighbours, and exemplars after re-ranking: squares of one number join patches of query (above) "
    "and exemplar (below), 5 counts most. Blue frame: the query's true class; orange: another.",
    draw="lookalike.methods.reranking.drawing:draw_correspondences",
)
FLOW = ExplanationFigure(
    kind="flow",
    label="flow between patches",
    caption="The best exemplar: how each patch of one image correlates with the other image, and the query put "
    "together from the exemplar's patches, the darker the less a pair counts.",
    draw="lookalike.methods.reranking.drawing:draw_flow",
)


class CorrespondenceScoring(Settings):
    """Scores of patch pairs: parts, warps, and what the vote owes to them."""

    queries: Annotated[int, Field(ge=1), SmokeAtMost(2)] = Field(
        100, description="Queries scored, drawn from the evaluation set."
    )


class RerankInference(Settings):
    """Settings of candidates and vote."""

    n_candidates: Annotated[int, Field(ge=1), SmokeAtMost(7)] = Field(
        50, description="Nearest training images that are ordered anew."
    )
    k: Annotated[int, Field(ge=1), ReadFrom("evaluate"), SmokeAtMost(2)] = Field(
        20, description="Best candidates that vote."
    )
    gallery_gb: Annotated[float, Field(gt=0), ReadFrom(None)] = Field(
        4, description="GB of prepared training images in memory; where more are needed, the recently used are kept."
    )
    correspondences: Annotated[CorrespondenceScoring | None, ReadFrom("analyse")] = Field(
        None, description="Scores of how right the patch pairs are, an analysis of its own; {} for the defaults."
    )

    @model_validator(mode="after")
    def _k_are_ranked(self) -> RerankInference:
        if self.k > self.n_candidates:
            raise ValueError(f"k is {self.k}, but only the {self.n_candidates} candidates are ranked")
        if self.correspondences is not None and self.k + SHOWN_EXEMPLARS > self.n_candidates:
            raise ValueError(
                f"correspondences take the {SHOWN_EXEMPLARS} exemplars shown away and let {self.k} others vote; "
                f"n_candidates must be {self.k + SHOWN_EXEMPLARS} or more, not {self.n_candidates}"
            )
        return self


class RerankingSettings(FrozenSettings):
    """What study entries of these methods share."""

    citations: ClassVar[tuple[str, ...]] = (CORRESPONDENCE,)
    analyses: ClassVar[tuple[Analysis, ...]] = (CORRESPONDENCES,)
    tables: ClassVar[tuple[RunTable, ...]] = (PAIR_SCORES,)
    figures: ClassVar[tuple[ExplanationFigure, ...]] = (PAIRS, FLOW)
    modes: Annotated[tuple[Literal["vote"], ...], Field(min_length=1), ReadFrom(None)] = Field(
        ("vote",), description="`vote`: the best candidates vote with equal weight."
    )
    explain: Annotated[tuple[Literal["vote"], ...], ReadFrom(None)] = Field(
        ("vote",), description="Modes that leave explanation records: the images that voted, and patch pairs."
    )
    inference: Annotated[RerankInference, ReadFrom("embed")] = Field(
        RerankInference(), description="Settings of candidates and vote."
    )
    compat: Compat = None  # of prepared training images too

    @property
    def explains_with_network(self) -> bool:
        """Patches are parts of feature maps."""
        return True

    @property
    def prepared_bytes(self) -> int:
        """Bytes of prepared training images that may be held."""
        return int(self.inference.gallery_gb * 1e9)
