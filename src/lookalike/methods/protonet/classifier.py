"""Backbone and class means of a balanced random memory."""

from __future__ import annotations

import torch
from torch import Tensor

from lookalike.contracts.backbone import Backbone
from lookalike.contracts.features import TrainingImages
from lookalike.core.errors import LookalikeError
from lookalike.methods.memory.classifier import MemoryClassifier
from lookalike.methods.protonet.head import PrototypicalHead
from lookalike.methods.protonet.settings import ProtoNetSettings


class ProtoNetClassifier(MemoryClassifier):
    """Backbone and class means of the memory."""

    def __init__(self, settings: ProtoNetSettings, backbone: Backbone, n_classes: int) -> None:
        super().__init__(settings, backbone, n_classes)
        self.head = PrototypicalHead(n_classes)

    def check_training(self, pool: TrainingImages) -> None:
        """Every class needs an image in the subset, and a place in the memory."""
        super().check_training(pool)
        if self.settings.memory.size < self.n_classes:
            raise LookalikeError(
                f"memory.size is {self.settings.memory.size}, but a prototypical network needs one of each of the "
                f"{self.n_classes} classes; write memory: {{size: {self.n_classes}}} or more."
            )
        missing = (torch.bincount(pool.labels, minlength=self.n_classes) == 0).nonzero().flatten()
        if len(missing):
            raise LookalikeError(
                f"class {int(missing[0])} has no image in the training subset, so that no memory holds it; use a "
                "larger size or leave the class out."
            )

    def decide(self, features: Tensor, memory: Tensor, labels: Tensor, excluded: Tensor | None = None) -> Tensor:
        """Log-softmax of minus the distance from the class means, in float32."""
        with torch.autocast(features.device.type, enabled=False):
            log_probs: Tensor = self.head(features.float(), memory.float(), labels, excluded)
            return log_probs
