"""The plain linear head on pooled features: the baseline of all four papers."""

from __future__ import annotations

from typing import Annotated, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from lookalike.backbones.base import Backbone
from lookalike.methods.base import Batch, Classifier, Embedded, MethodSettings, Prediction, TrainedSettings


class Settings(TrainedSettings):
    """Study entry of `fc`."""

    method: Literal["fc"]
    modes: Annotated[tuple[Literal["linear"], ...], Field(min_length=1)] = ("linear",)
    explain: tuple[()] = ()


class Model(Classifier):
    """Linear layer and log-softmax."""

    def __init__(self, settings: MethodSettings, backbone: Backbone, n_classes: int) -> None:
        super().__init__(settings, backbone, n_classes)
        self.linear = nn.Linear(backbone.dim, n_classes)

    def training_loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Cross entropy."""
        log_probs = self._log_probs(self.embed(batch.images))
        return F.nll_loss(log_probs, batch.labels), log_probs

    def predict(self, queries: Embedded, mode: str) -> Prediction:
        """Log-softmax of the linear layer."""
        return Prediction(self._log_probs(queries.features))

    def _log_probs(self, features: Tensor) -> Tensor:
        return F.log_softmax(self.linear(features).float(), dim=1)
