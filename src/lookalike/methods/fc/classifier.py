"""A linear layer and log-softmax on pooled features."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from lookalike.contracts.backbone import Backbone
from lookalike.contracts.classifier import Batch, Classifier, Prediction
from lookalike.contracts.features import Features
from lookalike.contracts.settings import MethodSettings


class FCClassifier(Classifier):
    """Linear layer and log-softmax."""

    def __init__(self, settings: MethodSettings, backbone: Backbone, n_classes: int) -> None:
        super().__init__(settings, backbone, n_classes)
        self.linear = nn.Linear(backbone.dim, n_classes)

    def training_loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Cross entropy."""
        log_probs = self._log_probs(self.embed(batch.images))
        return F.nll_loss(log_probs, batch.labels), log_probs

    def predict(self, queries: Features, mode: str) -> Prediction:
        """Log-softmax of the linear layer."""
        return Prediction(self._log_probs(queries.features))

    def _log_probs(self, features: Tensor) -> Tensor:
        return F.log_softmax(self.linear(features).float(), dim=1)
