"""Networks of torchvision without their classifiers."""

from __future__ import annotations

import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from lookalike.backbones.base import Backbone


class TorchvisionResNet(Backbone):
    """torchvision's ResNet up to its last stage; keys as in torchvision's weight files."""

    def __init__(self, image_shape: tuple[int, ...], name: str) -> None:
        super().__init__()
        network = torchvision.models.get_model(name, weights=None)
        self.dim = network.fc.in_features
        del network.fc, network.avgpool
        self.network = network

    def feature_map(self, images: Tensor) -> Tensor:
        """(B, D, H/32, W/32)."""
        n = self.network
        x = n.maxpool(n.relu(n.bn1(n.conv1(_three_channels(images)))))
        result: Tensor = n.layer4(n.layer3(n.layer2(n.layer1(x))))
        return result


class TorchvisionDenseNet(Backbone):
    """torchvision's DenseNet up to the ReLU after its last norm; keys as in torchvision's weight files."""

    def __init__(self, image_shape: tuple[int, ...], name: str) -> None:
        super().__init__()
        network = torchvision.models.get_model(name, weights=None)
        self.dim = network.classifier.in_features
        network.classifier = nn.Identity()
        self.network = network

    def feature_map(self, images: Tensor) -> Tensor:
        """(B, D, H/32, W/32)."""
        return F.relu(self.network.features(_three_channels(images)))


def _three_channels(images: Tensor) -> Tensor:
    """Grey images as colour images: the published weights know nothing else."""
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images
