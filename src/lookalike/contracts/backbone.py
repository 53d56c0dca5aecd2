"""The contract of a backbone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

from torch import Tensor, nn


class Backbone(nn.Module, ABC):
    """Images -> pooled features and a feature map.

    Attributes:
        dim: Number of pooled features D.
    """

    dim: int

    @abstractmethod
    def feature_map(self, images: Tensor) -> Tensor:
        """(B, C, h, w) of images (B, c, H, W)."""

    def own_name(self, name: str) -> str:
        """What this network calls a tensor of a published weights file."""
        return name

    def may_lack(self, name: str) -> bool:
        """Whether published weights files may leave out this tensor of the network."""
        return False

    def check_weights(self, path: Path) -> None:
        """Raise LookalikeError where what lies beside a weights file says that it is another network's."""

    def forward(self, images: Tensor) -> Tensor:
        """Pooled features (B, D): the mean over the map unless a network says otherwise."""
        return self.feature_map(images).mean((2, 3))
