"""The contract of a backbone."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Backbone(nn.Module, ABC):
    """Images -> pooled features and a feature map.

    Attributes:
        dim: number of pooled features D.
    """

    dim: int

    @abstractmethod
    def feature_map(self, images: Tensor) -> Tensor:
        """(B, C, h, w) of images (B, c, H, W)."""

    def own_name(self, name: str) -> str:
        """What this network calls a tensor of a published weights file."""
        return name

    def forward(self, images: Tensor) -> Tensor:
        """Pooled features (B, D): the mean over the map unless a network says otherwise."""
        return self.feature_map(images).mean((2, 3))
