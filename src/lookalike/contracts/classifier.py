"""The contract of a classifier: what the workflow asks of every method."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from lookalike.contracts.backbone import Backbone
from lookalike.contracts.features import Features, ImageAccess, TrainingImages
from lookalike.contracts.settings import MethodSettings

if TYPE_CHECKING:
    import numpy as np

    from lookalike.contracts.explanation import Explanation


@dataclass(frozen=True)
class Batch:
    """One training step's input.

    Attributes:
        images: (B, C, H, W) normalised, augmented.
        labels: (B,) int64.
        rows: (B,) row numbers of the images in `pool`.
        pool: The training subset.
        generators: One generator a purpose, seeded for this very step.
        epoch: Number of the epoch, from 0.
    """

    images: Tensor
    labels: Tensor
    rows: Tensor
    pool: TrainingImages
    generators: dict[str, torch.Generator]
    epoch: int = 0


@dataclass(frozen=True)
class Prediction:
    """What a batch of queries gets.

    Attributes:
        log_probs: (B, C) log-probabilities, nats.
        draws: (K, B, C) log-probabilities under each of several random supports, where a mode averages results over
            them.
    """

    log_probs: Tensor
    draws: Tensor | None = None

    def predicted(self) -> np.ndarray:
        """(B,) classes; the lowest class index wins a tie."""
        values = self.log_probs.detach().cpu()
        if values.dtype in (torch.float16, torch.bfloat16):  # numpy has no bfloat16
            values = values.float()
        classes: np.ndarray = values.numpy().argmax(1)
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
        settings: The model's entry of the study.
        backbone: The network, already loaded where it is frozen.
        n_classes: Number of classes C.

    Attributes:
        max_nonfinite_steps: Steps in a row whose loss may be not finite: each is left out, one more stops the
            training. With 0 training looks at losses now and then only, which spares a GPU from waiting for each.
    """

    max_nonfinite_steps: ClassVar[int] = 0

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

    def count_correct(self, answers: Tensor, batch: Batch) -> Tensor:
        """() how many of a step's answers, the second result of `training_loss`, are right."""
        return (answers.argmax(1) == batch.labels).sum()

    def check_training(self, pool: TrainingImages) -> None:
        """Raise LookalikeError where the training subset cannot serve this method."""

    def init_from_data(self, pool: TrainingImages, generator: torch.Generator, batch_size: int) -> None:
        """Set what training starts from by the training images, before its first step; nothing by default.

        Args:
            pool: The training subset.
            generator: Source of randomness on the network's device.
            batch_size: Images a step.
        """

    def parameter_groups(self) -> list[dict[str, Any]]:
        """What the optimiser works on; a group's `lr_factor` multiplies its learning rate."""
        return [{"params": [p for p in self.parameters() if p.requires_grad]}]

    def memory_remedies(self) -> list[str]:
        """Settings by which a training step needs less of the device's memory, as a message names them."""
        return []

    def build_support(self, support: Features, seed: int) -> None:
        """Precompute from the embedded training subset what inference needs; nothing by default."""

    def support_tensors(self) -> dict[str, Tensor]:
        """What `build_support` gave, as named tensors for the store."""
        return {}

    def load_support(self, tensors: dict[str, Tensor]) -> None:
        """Take back what `support_tensors` gave."""

    def open_gallery(self, images: ImageAccess, path: Path, origin: dict[str, str]) -> None:
        """Look at the training images again before queries are matched; nothing by default.

        Args:
            images: The training subset, rows as in the support.
            path: A file of the method's own beside the store.
            origin: Hashes of what such a file follows from.
        """

    def match_queries(self, queries: Features, images: ImageAccess) -> Features:
        """Queries with what matching them with the support gives, once for all modes; as they are by default."""
        return queries

    @abstractmethod
    def predict(self, queries: Features, mode: str) -> Prediction:
        """Classify embedded queries; every row's answer is independent of the others."""

    def query_metrics(self, queries: Features, mode: str) -> dict[str, Tensor]:
        """Further columns of predictions.parquet, (B,) each; (K, B) where the mode has K draws; none by default.

        Each name must be a column that a metric of the method's settings class takes, or one of its `ood_scores`.
        """
        return {}

    def explain(self, queries: Features, mode: str) -> list[Explanation]:
        """One record a query; an empty list where the method has no exemplars."""
        return []

    def add_correspondences(
        self, records: list[Explanation], queries: Features, load: Callable[[list[int]], Tensor]
    ) -> list[Explanation]:
        """The records with the patches that belong together; as they are where the method matches none.

        Args:
            records: Records of `explain`.
            queries: The same queries.
            load: Image ids -> normalised images (n, C, H, W).
        """
        return records

    def add_attributions(
        self, records: list[Explanation], load: Callable[[list[int]], Tensor], ends: tuple[Tensor, Tensor]
    ) -> list[Explanation]:
        """The records with maps of what in the images mattered; as they are where the method has none.

        Args:
            records: Records of `explain`.
            load: Image ids -> normalised images (n, C, H, W).
            ends: A black and a white image, normalised, (C, 1, 1) or what broadcasts to an image.
        """
        return records
