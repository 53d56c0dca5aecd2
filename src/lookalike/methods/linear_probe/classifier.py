"""A linear layer on a frozen network.

Nguyen, Taesiri and Nguyen, NeurIPS 2022 (docs/algorithms/knn_emd_corr.md, section 3). On ImageNet the layer is the
weights file's own; on CUB it is trained on the pooled features of the frozen network.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from lookalike.contracts.backbone import Backbone
from lookalike.core.errors import LookalikeError
from lookalike.core.tensors import read_weights
from lookalike.methods.fc.classifier import FCClassifier
from lookalike.methods.linear_probe.settings import LinearProbeSettings


class LinearProbeClassifier(FCClassifier):
    """Linear layer and log-softmax; the network below does not learn."""

    def __init__(self, settings: LinearProbeSettings, backbone: Backbone, n_classes: int) -> None:
        super().__init__(settings, backbone, n_classes)
        backbone.requires_grad_(False)
        if settings.training is None:
            assert settings.backbone is not None
            assert settings.backbone.weights is not None
            self._take_layer(Path(settings.backbone.weights))

    def _take_layer(self, path: Path) -> None:
        state = read_weights(path)
        layer = {name: state.get(f"fc.{name}") for name in ("weight", "bias")}
        expected = self.linear.state_dict()
        for name, value in layer.items():
            if value is None or value.shape != expected[name].shape:
                sides = "none" if value is None else " x ".join(map(str, value.shape))
                wanted = " x ".join(map(str, expected[name].shape))
                raise LookalikeError(
                    f"weights file {path} must hold fc.{name} of {wanted}, for this data set's classes, not {sides};"
                    " train the layer: write training: {optimizer: adam, lr: 0.001}."
                )
        self.linear.load_state_dict(layer)

    def train(self, mode: bool = True) -> LinearProbeClassifier:
        """The backbone's statistics stay as they are: it is frozen."""
        super().train(mode)
        self.backbone.eval()
        return self

    def embed(self, images: Tensor) -> Tensor:
        """Features (B, D); a gradient reaches the images only where one is asked for."""
        with torch.set_grad_enabled(images.requires_grad):
            return super().embed(images)
