"""Settings of `nw`, the Nadaraya-Watson head."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import Field, model_validator

from lookalike.contracts.report import WEIGHTS, ExplanationFigure
from lookalike.contracts.settings import Compat, ReadFrom, Settings, SmokeAtMost, TrainedSettings
from lookalike.methods.nw import Kernel

Mode = Literal["random", "full", "cluster", "closest_cluster", "ensemble", "knn", "hnsw"]
MODES: tuple[Mode, ...] = get_args(Mode)
Explained = Literal["full", "closest_cluster", "knn", "hnsw", "random"]

INFLUENCE = ExplanationFigure(
    kind="influence",
    label="most helpful and harmful training images",
    caption="Training images whose removal would raise (helpful) or lower (harmful) the loss of the query most.",
    draw="lookalike.methods.nw.drawing:draw_influence",
)


class EpisodeSettings(Settings):
    """The support of a training step."""

    n_shot: Annotated[int, Field(ge=1), SmokeAtMost(1)] = Field(1, description="Images of each class.")
    n_way: Annotated[Annotated[int, Field(ge=2)] | None, SmokeAtMost(4)] = Field(
        None, description="Classes in a support; all when left out."
    )
    exclude_queries: bool = Field(True, description="Leave a query's own image out of its support.")
    environment: Literal["pooled", "single"] = Field(
        "pooled", description="`single`: each support comes from one environment (NeurIPS 2023)."
    )


class NWInference(Settings):
    """Supports at inference."""

    n_random: Annotated[int, Field(ge=1), SmokeAtMost(2)] = Field(
        1, description="Images of each class in the support of mode random."
    )
    n_clusters: Annotated[int, Field(ge=1), SmokeAtMost(2)] = Field(
        3, description="Centroids of each class in the cluster modes."
    )
    n_neighbors: Annotated[int, Field(ge=1), SmokeAtMost(4)] = Field(
        20, description="Images in the supports of modes knn and hnsw."
    )
    n_shot_full: Annotated[int, Field(ge=1)] = Field(
        100, description="Most images of each class and environment, with `compat: upstream` only."
    )


class NWSettings(TrainedSettings):
    """Study entry of `nw`."""

    citations: ClassVar[tuple[str, ...]] = (
        "A. Q. Wang and M. R. Sabuncu. A Flexible Nadaraya-Watson Head Can Offer Explainable and Calibrated "
        "Classification. TMLR, 2023. arXiv 2212.03411.",
        "A. Q. Wang et al. Learning Invariant Representations with a Nonparametric Nadaraya-Watson Head. NeurIPS, "
        "2023. arXiv 2309.13377.",
    )
    figures: ClassVar[tuple[ExplanationFigure, ...]] = (WEIGHTS, INFLUENCE)
    method: Literal["nw"] = Field(description="Soft-max-weighted sum over training images.")
    modes: Annotated[tuple[Mode, ...], Field(min_length=1), ReadFrom(None)] = Field(
        MODES, description="Supports that queries are compared with."
    )
    explain: Annotated[tuple[Explained, ...], ReadFrom(None)] = Field(
        ("full",), description="Modes that leave explanation records: weights and influence of support images."
    )
    kernel: Kernel = Field("euclidean", description="Similarity of a query and a support image.")
    temperature: Annotated[float, Field(ge=1e-6, le=1e6)] = Field(
        1.0, description="Number that similarities are divided by."
    )
    learn_temperature: bool = Field(False, description="Train the logarithm of the temperature.")
    proj_dim: Annotated[int, Field(ge=0)] = Field(
        0, description="Width of a linear projection of features; 0 for none."
    )
    episodes: EpisodeSettings = Field(EpisodeSettings(), description="The support of a training step.")
    inference: Annotated[NWInference, ReadFrom("embed")] = Field(NWInference(), description="Supports at inference.")
    compat: Compat = None

    @model_validator(mode="before")
    @classmethod
    def _explain_what_is_evaluated(cls, entry: Any) -> Any:
        """Without `explain`: the first of full, closest_cluster, knn, hnsw, random among the modes."""
        if isinstance(entry, dict) and "explain" not in entry and isinstance(entry.get("modes"), (list, tuple)):
            entry = {**entry, "explain": [mode for mode in get_args(Explained) if mode in entry["modes"]][:1]}
        return entry

    def support_images(self, n_classes: int) -> int:
        """Images of the support of a step."""
        return (self.episodes.n_way or n_classes) * self.episodes.n_shot
