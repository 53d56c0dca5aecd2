"""The contract of a method: what the workflow asks of every classifier.

A new method is one module with a settings class and a classifier, and one line in `methods/registry.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Protocol

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

    has_gradient: ClassVar[bool] = False  # of the answer by the image, which an adversarial patch follows
    classifies: ClassVar[bool] = True  # or models images alone
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

    has_gradient: ClassVar[bool] = True
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


COMPARED = "compared."


@dataclass(frozen=True)
class Looks:
    """Images that a method may look at again, besides their features.

    Attributes:
        take: rows (n,) -> normalised images (n, C, H, W) on the network's device.
        points: (N, P, 3) key points: x and y between 0 and 1 of the image, visibility; None where none are known.
    """

    take: Callable[[Tensor], Tensor]
    points: Tensor | None = None

    def points_of(self, rows: Tensor) -> Tensor | None:
        """Key points (n, P, 3) of some images."""
        return None if self.points is None else self.points[rows]


@dataclass(frozen=True)
class Batch:
    """One training step's input.

    Attributes:
        images: (B, C, H, W) normalised, augmented.
        labels: (B,) int64.
        rows: (B,) row numbers of the images in `pool`.
        pool: the training subset.
        generators: one generator a purpose, seeded for this very step.
        epoch: counted from 0.
    """

    images: Tensor
    labels: Tensor
    rows: Tensor
    pool: Pool
    generators: dict[str, torch.Generator]
    epoch: int = 0


@dataclass(frozen=True)
class Embedded:
    """Images behind the backbone.

    Attributes:
        features: (N, D) float32.
        labels: (N,) int64.
        environments: (N,) int64.
        ids: (N,) int64 image ids of the data set's index.
        compared: (N, ...) each: what a method found by comparing queries with its support; empty for most.
        competing: (K,) the classes that queries may be given; None for all.
    """

    features: Tensor
    labels: Tensor
    environments: Tensor
    ids: Tensor
    compared: dict[str, Tensor] = field(default_factory=dict)
    competing: Tensor | None = None

    @classmethod
    def unlabelled(cls, features: Tensor) -> Embedded:
        """Images of which nothing but the features (N, D) is known."""
        zeros = torch.zeros(len(features), dtype=torch.int64)
        return cls(features, zeros, zeros, zeros - 1)

    def rows(self, rows: Tensor | slice) -> Embedded:
        """Some of the rows."""
        return replace(
            self,
            features=self.features[rows],
            labels=self.labels[rows],
            environments=self.environments[rows],
            ids=self.ids[rows],
            compared={name: values[rows] for name, values in self.compared.items()},
        )

    def tensors(self) -> dict[str, Tensor]:
        """All fields by name, for the store."""
        named = {name: value for name, value in vars(self).items() if name != "compared" and value is not None}
        return named | {COMPARED + name: value for name, value in self.compared.items()}

    @classmethod
    def of_tensors(cls, tensors: dict[str, Tensor]) -> Embedded:
        """Inverse of `tensors`."""
        compared = {name.removeprefix(COMPARED): v for name, v in tensors.items() if name.startswith(COMPARED)}
        return cls(**{name: v for name, v in tensors.items() if not name.startswith(COMPARED)}, compared=compared)

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

    def among(self, classes: Tensor) -> Prediction:
        """Where only some classes (K,) compete: their shares of what they had together, equal where they had none."""

        def restricted(log_probs: Tensor) -> Tensor:
            some = log_probs[..., classes]
            some = torch.where(some.isneginf().all(-1, keepdim=True), 0, some).log_softmax(-1)
            return torch.full_like(log_probs, -torch.inf).index_copy(-1, classes, some)

        return Prediction(restricted(self.log_probs), None if self.draws is None else restricted(self.draws))


class Classifier(nn.Module, ABC):
    """An image classifier whose decision can be shown by training images.

    Args:
        settings: the model entry of the study.
        backbone: the network, already loaded where it is frozen.
        n_classes: number of classes C.

    Attributes:
        bad_steps: steps in a row whose loss may be not finite: each is left out, one more stops the training. With 0
            training looks at losses now and then only, which spares a GPU from waiting for each.
    """

    bad_steps: ClassVar[int] = 0

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

    def count_right(self, answers: Tensor, batch: Batch) -> Tensor:
        """() how many of a step's answers, the second result of `training_loss`, are right."""
        return (answers.argmax(1) == batch.labels).sum()

    def check_training(self, pool: Pool) -> None:
        """Raise LookalikeError where the training subset cannot serve this method."""

    def start_training(self, pool: Pool, made: torch.Generator, batch_size: int) -> None:
        """Set what training starts from by the training images, before its first step; nothing by default.

        Args:
            pool: the training subset.
            made: source of randomness on the network's device.
            batch_size: of the steps.
        """

    def parameter_groups(self) -> list[dict[str, Any]]:
        """What the optimiser works on; a group's `lr_factor` multiplies its learning rate."""
        return [{"params": [p for p in self.parameters() if p.requires_grad]}]

    def build_support(self, support: Embedded, seed: int) -> None:
        """Precompute from the embedded training subset what inference needs; nothing by default."""

    def support_tensors(self) -> dict[str, Tensor]:
        """What `build_support` made, as named tensors for the store."""
        return {}

    def load_support(self, tensors: dict[str, Tensor]) -> None:
        """Take back what `support_tensors` gave."""

    def open_gallery(self, images: Looks, path: Path, origin: dict[str, str]) -> None:
        """Look at the training images again before queries are compared; nothing by default.

        Args:
            images: the training subset, rows as in the support.
            path: a file of the method's own beside the store.
            origin: hashes of what such a file is made from.
        """

    def compare(self, queries: Embedded, images: Looks) -> Embedded:
        """Queries with what comparing them with the support gives, once for all modes; as they are by default."""
        return queries

    @abstractmethod
    def predict(self, queries: Embedded, mode: str) -> Prediction:
        """Classify embedded queries; every row's answer is independent of the others."""

    def measures(self, queries: Embedded, mode: str) -> dict[str, Tensor]:
        """Further columns of predictions.parquet, (B,) each; (K, B) where the mode has K draws; none by default."""
        return {}

    def explain(self, queries: Embedded, mode: str) -> list[Explanation]:
        """One record a query; an empty list where the method has no exemplars."""
        return []

    def add_links(
        self, records: list[Explanation], queries: Embedded, take: Callable[[list[int]], Tensor]
    ) -> list[Explanation]:
        """The records with the patches that belong together; as they are where the method compares none.

        Args:
            records: of `explain`.
            queries: the same queries.
            take: image ids -> normalised images (n, C, H, W).
        """
        return records

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
