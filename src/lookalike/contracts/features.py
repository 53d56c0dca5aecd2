"""Images behind the backbone, and access to the images themselves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor

MATCH_SCORES = "match_scores."


class TrainingImages(Protocol):
    """The training images that a step may draw further images from.

    Attributes:
        labels: (N,) int64.
        environments: (N,) int64.
    """

    labels: Tensor
    environments: Tensor

    def load(self, rows: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Normalised images (n, C, H, W) of the rows, augmented where a generator is given."""


@dataclass(frozen=True)
class ImageAccess:
    """Images that a method may look at again, besides their features.

    Attributes:
        load: Rows (n,) -> normalised images (n, C, H, W) on the network's device.
        key_points: (N, P, 3) key points: x and y between 0 and 1 of the image, visibility; None where none are known.
    """

    load: Callable[[Tensor], Tensor]
    key_points: Tensor | None = None

    def key_points_of(self, rows: Tensor) -> Tensor | None:
        """Key points (n, P, 3) of some images."""
        return None if self.key_points is None else self.key_points[rows]


@dataclass(frozen=True)
class Features:
    """Images behind the backbone.

    Attributes:
        features: (N, D) float32.
        labels: (N,) int64.
        environments: (N,) int64.
        ids: (N,) int64 image ids of the data set's index.
        match_scores: Named tensors (N, ...): what a method learnt by matching queries with its support; empty for most.
        class_subset: (K,) classes that queries may be given; None for all.
    """

    features: Tensor
    labels: Tensor
    environments: Tensor
    ids: Tensor
    match_scores: dict[str, Tensor] = field(default_factory=dict)
    class_subset: Tensor | None = None

    @classmethod
    def unlabelled(cls, features: Tensor) -> Features:
        """Images of which nothing but the features (N, D) is known."""
        zeros = torch.zeros(len(features), dtype=torch.int64)
        return cls(features, zeros, zeros, zeros - 1)

    def rows(self, rows: Tensor | slice) -> Features:
        """Some of the rows."""
        return replace(
            self,
            features=self.features[rows],
            labels=self.labels[rows],
            environments=self.environments[rows],
            ids=self.ids[rows],
            match_scores={name: values[rows] for name, values in self.match_scores.items()},
        )

    def tensors(self) -> dict[str, Tensor]:
        """All fields by name, for the store."""
        fields = {name: value for name, value in vars(self).items() if name != "match_scores" and value is not None}
        return fields | {MATCH_SCORES + name: value for name, value in self.match_scores.items()}

    @classmethod
    def of_tensors(cls, tensors: dict[str, Tensor]) -> Features:
        """Inverse of `tensors`."""
        scores = {name.removeprefix(MATCH_SCORES): v for name, v in tensors.items() if name.startswith(MATCH_SCORES)}
        return cls(**{name: v for name, v in tensors.items() if not name.startswith(MATCH_SCORES)}, match_scores=scores)

    def __len__(self) -> int:
        return len(self.labels)
