"""Networks of torchvision without their classifiers."""

from __future__ import annotations

import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck

from lookalike.contracts.backbone import Backbone


class TorchvisionResNet(Backbone):
    """The ResNet of torchvision up to its last stage; keys as in torchvision's weight files."""

    def __init__(self, image_shape: tuple[int, ...], name: str | torchvision.models.ResNet) -> None:
        super().__init__()
        network = torchvision.models.get_model(name, weights=None) if isinstance(name, str) else name
        self.dim = network.fc.in_features
        del network.fc, network.avgpool
        self.network = network

    def feature_map(self, images: Tensor) -> Tensor:
        """(B, D, H/32, W/32)."""
        n = self.network
        x = n.maxpool(n.relu(n.bn1(n.conv1(_three_channels(images)))))
        result: Tensor = n.layer4(n.layer3(n.layer2(n.layer1(x))))
        return result


class BBNResNet50(TorchvisionResNet):
    """ResNet-50 with blocks 3, 4, 6, 4; takes BBN's iNaturalist files as they are.

    Zhou et al., CVPR 2020 (arXiv 1912.02413): the last stage's two last blocks are the conventional and the
    re-balancing branch, which the visual-correspondence paper puts one behind the other
    (docs/algorithms/backbones.md, section 7).
    """

    def __init__(self, image_shape: tuple[int, ...]) -> None:
        super().__init__(image_shape, torchvision.models.ResNet(Bottleneck, [3, 4, 6, 4]))

    def own_name(self, name: str) -> str:
        """Without the prefix of BBN's files, and the branches as blocks."""
        name = name.removeprefix("module.backbone.")
        for branch, block in (("cb_block.", "layer4.2."), ("rb_block.", "layer4.3.")):
            if name.startswith(branch):
                return block + name.removeprefix(branch)
        return name


class TorchvisionDenseNet(Backbone):
    """The DenseNet of torchvision up to the ReLU after its last norm; keys as in torchvision's weight files."""

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
