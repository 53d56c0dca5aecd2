"""Backbone and matching head on a random memory."""

from __future__ import annotations

import torch
from torch import Tensor

from lookalike.contracts.backbone import Backbone
from lookalike.methods.matching.head import MatchingHead
from lookalike.methods.matching.settings import MatchingSettings
from lookalike.methods.memory.classifier import MemoryClassifier


class MatchingClassifier(MemoryClassifier):
    """Backbone, context embedding and attention."""

    settings: MatchingSettings

    def __init__(self, settings: MatchingSettings, backbone: Backbone, n_classes: int) -> None:
        super().__init__(settings, backbone, n_classes)
        self.head = MatchingHead(backbone.dim, n_classes, settings.reads)

    def decide(self, features: Tensor, memory: Tensor, labels: Tensor, excluded: Tensor | None = None) -> Tensor:
        """Log of the label mixture, in float32."""
        with torch.autocast(features.device.type, enabled=False):
            log_probs: Tensor = self.head(features.float(), memory.float(), labels, excluded)
            return log_probs
