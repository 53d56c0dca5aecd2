"""Settings of `memory_wrap` and `baseline_memory`, and what their runs leave."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from lookalike.contracts.analysis import Analysis
from lookalike.contracts.report import Column, ExplanationFigure, RunTable
from lookalike.contracts.settings import ReadFrom, Settings, SmokeAtMost, SmokeOnce
from lookalike.distances import Distance
from lookalike.methods.memory.settings import MemoryInference, MemoryMethodSettings
from lookalike.methods.memory_wrap import RANKINGS

FRACTION, POSITIVE = (0.0, 1.0), (0.0, math.inf)

EXPLANATIONS = RunTable(
    name="explanations",
    label="explanation accuracy of memories",
    columns=(
        Column("accuracy", "Accuracy (%)", 100, 2, FRACTION),
        Column("explanation_accuracy", "Explanation accuracy (%)", 100, 2, FRACTION),
        Column("example_accuracy", "... where an example (%)", 100, 2, FRACTION),
        Column("counterfactual_accuracy", "... where a counterfactual (%)", 100, 2, FRACTION),
        Column("vote_accuracy", "Vote of predictions (%)", 100, 2, FRACTION),
        Column("label_vote_accuracy", "Vote of labels (%)", 100, 2, FRACTION),
        Column("used_images", "Images used", 1, 1, POSITIVE),
    ),
    needs="explanation_accuracy",
    caption="Explanation accuracy: how often the heaviest memory image gets the query's class; accuracy where it does "
    "(an example) and where not (a counterfactual); accuracy of a majority vote of the used images, each counting "
    "once. Mean over the memories and seeds that have a value, 95 % t interval.",
)
NON_REPRESENTATIVENESS = RunTable(
    name="non_representativeness",
    label="non-representativeness of examples",
    columns=tuple(
        Column(f"{part}_{ranking}", f"{heading}, {name}", 1, 3, POSITIVE)
        for part, heading in (("input", "Input"), ("prediction", "Prediction"))
        for ranking, name in RANKINGS.items()
    ),
    csv_columns=tuple(f"{part}_{ranking}_upstream" for part in ("input", "prediction") for ranking in RANKINGS),
    needs="explanation_accuracy",
    caption="Non-representativeness (lower is better) of the memory image of the query's class that is first by "
    "weight, by distance of the hidden layer (kNN*), by its part in the logit (twin contribution), or at random: mean "
    "absolute difference of logits (input), cross-entropy of its logits against the query's class in nats "
    "(prediction). Mean over memories and seeds, 95 % t interval. Columns `_upstream` of the CSV: as the original "
    "counts.",
)
PLAUSIBILITY = RunTable(
    name="counterfactuals",
    label="plausibility of counterfactuals",
    columns=(
        Column("found", "Found (%)", 100, 1, FRACTION),
        Column("im1", "IM1", 1, 3, POSITIVE),
        Column("iim1", "IIM1", 1, 3, POSITIVE),
        Column("im2", "IM2", 1, 3, POSITIVE),
        Column("trust", "Trust score", 1, 3, POSITIVE),
    ),
    csv_columns=("im1_upstream", "iim1_upstream", "im2_upstream"),
    rows="lookalike.methods.memory_wrap.analyses:summarise_counterfactuals",
    mode_heading="Counterfactual",
    caption="Counterfactual images: the heaviest memory image of another class, and what a prototype-guided search "
    "makes of the query. IM1 and IM2: lower is better; IIM1 and trust score: higher. Mean over the seeds that found "
    "any, 95 % t interval. Columns `_upstream` of the CSV: norms over batches of 64, as in the original.",
)
COUNTERFACTUALS = Analysis(
    name="counterfactuals",
    title="Score counterfactuals",
    compute="lookalike.methods.memory_wrap.analyses:score_counterfactuals",
    suffix="parquet",
    key="inference.counterfactuals",
    tables=("counterfactuals",),
)
MEMORY = ExplanationFigure(
    kind="memory",
    label="memory images used",
    caption="Memory images that a query used. Blue: gets the query's class (example); orange: another one.",
    draw="lookalike.methods.memory_wrap.drawing:draw_memory",
)
ATTRIBUTION = ExplanationFigure(
    kind="attribution",
    label="integrated gradients",
    caption="Integrated gradients: pixels that add to (orange) or take from (violet) the logit of the class.",
    draw="lookalike.methods.memory_wrap.drawing:draw_attributions",
    key="inference.attribution",
)


class AttributionSettings(Settings):
    """Integrated gradients on the query and on the memory images it used."""

    baseline: Literal["white", "black", "upstream"] = Field(
        "white", description="Image that stands for nothing; `upstream` is 1 in normalised values, a grey."
    )
    steps: Annotated[int, Field(ge=1), SmokeAtMost(1)] = Field(
        40, description="Gauss-Legendre nodes to begin with; more follow where the map does not add up."
    )


class CounterfactualSettings(Settings):
    """Scoring counterfactuals by autoencoders of each class (IM1, IM2), beside a prototype-guided search."""

    queries: Annotated[int, Field(ge=1), SmokeAtMost(2)] = Field(
        256, description="Queries scored, drawn from the evaluation set."
    )
    epochs: Annotated[int, Field(ge=1), SmokeAtMost(1)] = Field(4, description="Epochs of each autoencoder.")
    iterations: Annotated[int, Field(ge=1), SmokeAtMost(2)] = Field(1000, description="Steps of the search.")


class MemoryWrapInference(MemoryInference):
    """Memories and explanations at inference."""

    attribution: Annotated[AttributionSettings | None, ReadFrom("explain"), SmokeOnce()] = Field(
        AttributionSettings(), description="Integrated gradients of explained queries; null for none."
    )
    counterfactuals: Annotated[CounterfactualSettings | None, ReadFrom("analyse")] = Field(
        None, description="Scores of counterfactuals, an analysis of its own; {} for the defaults."
    )


class MemoryWrapSettings(MemoryMethodSettings):
    """Study entry of `memory_wrap`."""

    citations: ClassVar[tuple[str, ...]] = (
        "B. La Rosa, R. Capobianco and D. Nardi. Memory Wrap: a Data-Efficient and Interpretable Extension to Image "
        "Classification Models. 2021. arXiv 2106.01440; and Applied Intelligence, 2022. "
        "doi 10.1007/s10489-022-03886-6.",
    )
    analyses: ClassVar[tuple[Analysis, ...]] = (COUNTERFACTUALS,)
    tables: ClassVar[tuple[RunTable, ...]] = (EXPLANATIONS, NON_REPRESENTATIVENESS, PLAUSIBILITY)
    figures: ClassVar[tuple[ExplanationFigure, ...]] = (MEMORY, ATTRIBUTION)
    metrics: ClassVar[tuple[str, ...]] = ("lookalike.methods.memory_wrap.metrics",)
    method: Literal["memory_wrap"] = Field(description="Layers on the query and a sparse sum over a random memory.")
    explain: Annotated[tuple[Literal["cached"], ...], ReadFrom(None)] = Field(
        ("cached",), description="Modes that leave explanation records: the memory images that were used."
    )
    distance: Distance = Field("cosine", description="Distance of query and memory features.")
    inference: Annotated[MemoryWrapInference, ReadFrom("embed")] = Field(
        MemoryWrapInference(), description="Memories and explanations at inference."
    )

    @property
    def explains_with_network(self) -> bool:
        """Integrated gradients pass the network."""
        return self.inference.attribution is not None


class BaselineMemorySettings(MemoryWrapSettings):
    """Study entry of `baseline_memory`."""

    method: Literal["baseline_memory"] = Field(  # type: ignore[assignment]
        description="The same, by the memory alone."
    )
