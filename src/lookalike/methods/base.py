"""The contract of a method: what the workflow asks of every classifier.

A new method is one module with a settings class and a classifier, and one line in `methods/registry.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal, Protocol

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from lookalike.backbones.base import Backbone
from lookalike.settings import BackboneSettings, Settings, TrainingSettings

if TYPE_CHECKING:
    import numpy as np

    from lookalike.explanation.record import Explanation


class MethodSettings(Settings):
    """What every model entry of a study has. `inference` and `modes` do not touch training."""

    method: str
    modes: tuple[str, ...]
    explain: tuple[str, ...] = Field((), description="Modes that leave explanation records.")
    datasets: Annotated[tuple[str, ...], Field(min_length=1)] | None = Field(
        None, description="Of the study's data sets, those this model runs on; all when left out."
    )
    sizes: Annotated[tuple[Literal["all"] | Annotated[int, Field(ge=1)], ...], Field(min_length=1)] | None = Field(
        None, description="Of the study's sizes, those this model runs at; all when left out."
    )


class TrainedSettings(MethodSettings):
    """A method that trains its own network."""

    backbone: BackboneSettings = BackboneSettings()
    training: TrainingSettings = TrainingSettings()


class FrozenSettings(MethodSettings):
    """A method on frozen features: of another model's run of the same seed, or of a weights file."""

    backbone_from: str | None = Field(None, description="The model whose run of the same seed gives the network.")
    backbone: BackboneSettings | None = Field(None, description="A pretrained network; `weights` is required.")

    @model_validator(mode="after")
    def _one_source(self) -> FrozenSettings:
        if (self.backbone_from is None) == (self.backbone is None):
            raise ValueError("give either backbone_from: MODEL or backbone: {name: ..., weights: FILE}")
        if self.backbone is not None and self.backbone.weights is None:
            raise ValueError("a frozen backbone needs weights: FILE")
        return self


class Pool(Protocol):
    """The training images a step may draw further images from."""

    labels: Tensor  # (N,) int64
    environments: Tensor  # (N,) int64

    def take(self, rows: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Normalised images (n, C, H, W) of the rows, augmented where a generator is given."""


@dataclass(frozen=True)
class Batch:
    """One training step's input.

    Attributes:
        images: (B, C, H, W) normalised, augmented.
        labels: (B,) int64.
        rows: (B,) row numbers of the images in `pool`.
        pool: the training subset.
        generators: one generator a purpose, seeded for this very step.
    """

    images: Tensor
    labels: Tensor
    rows: Tensor
    pool: Pool
    generators: dict[str, torch.Generator]


@dataclass(frozen=True)
class Embedded:
    """Images behind the backbone.

    Attributes:
        features: (N, D) float32.
        labels: (N,) int64.
        environments: (N,) int64.
        ids: (N,) int64 image ids of the data set's index.
    """

    features: Tensor
    labels: Tensor
    environments: Tensor
    ids: Tensor

    def rows(self, rows: Tensor | slice) -> Embedded:
        """Some of the rows."""
        return Embedded(self.features[rows], self.labels[rows], self.environments[rows], self.ids[rows])

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Prediction:
    """What a batch of queries gets.

    Attributes:
        log_probs: (B, C).
        draws: (K, B, C) under each of several random supports, where a mode averages results over them.
    """

    log_probs: Tensor
    draws: Tensor | None = None

    def predicted(self) -> np.ndarray:
        """(B,) classes; the lowest class index wins a tie."""
        classes: np.ndarray = self.log_probs.cpu().numpy().argmax(1)
        return classes


class Classifier(nn.Module, ABC):
    """An image classifier whose decision can be shown by training images.

    Args:
        settings: the model entry of the study.
        backbone: the network, already loaded where it is frozen.
        n_classes: number of classes C.
    """

    def __init__(self, settings: MethodSettings, backbone: Backbone, n_classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.n_classes = n_classes

    def embed_on(self, device: torch.device) -> None:
        """Move what `embed` needs to a device; the rest stays on the CPU, where `predict` works."""
        self.backbone.to(device)

    def embed(self, images: Tensor) -> Tensor:
        """Features (B, D) of normalised images (B, C, H, W)."""
        features: Tensor = self.backbone(images)
        return features

    def training_loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Loss () and log-probabilities (B, C) of one step; methods on frozen features have none."""
        raise TypeError(f"{type(self).__name__} is not trained")

    def check_training(self, pool: Pool) -> None:
        """Raise LookalikeError where the training subset cannot serve this method."""

    def build_support(self, support: Embedded, seed: int) -> None:
        """Precompute from the embedded training subset what inference needs; nothing by default."""

    def support_tensors(self) -> dict[str, Tensor]:
        """What `build_support` made, as named tensors for the store."""
        return {}

    def load_support(self, tensors: dict[str, Tensor]) -> None:
        """Take back what `support_tensors` gave."""

    @abstractmethod
    def predict(self, features: Tensor, mode: str) -> Prediction:
        """Classify embedded queries (B, D); every row's answer is independent of the others."""

    def measures(self, queries: Embedded, mode: str) -> dict[str, Tensor]:
        """Further columns of predictions.parquet, (B,) each; (K, B) where the mode has K draws; none by default."""
        return {}

    def explain(self, queries: Embedded, mode: str) -> list[Explanation]:
        """One record a query; an empty list where the method has no exemplars."""
        return []

    def add_heat_maps(
        self, records: list[Explanation], take: Callable[[list[int]], Tensor], ends: tuple[Tensor, Tensor]
    ) -> list[Explanation]:
        """The records with maps of what in the images mattered; as they are where the method has none.

        Args:
            records: of `explain`.
            take: image ids -> normalised images (n, C, H, W).
            ends: a black and a white image, normalised, (C, 1, 1) or what broadcasts to an image.
        """
        return records
