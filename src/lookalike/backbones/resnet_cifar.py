"""The CIFAR ResNet-18 of the NW head's authors (pre-activation blocks)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from lookalike.contracts.backbone import Backbone

WIDTHS, STRIDES, BLOCKS = (64, 128, 256, 512), (1, 2, 2, 2), 2


class _PreActivationBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        same = stride == 1 and inputs == outputs
        self.shortcut = None if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(self.norm1(x))
        straight = x if self.shortcut is None else self.shortcut(active)
        result: Tensor = self.conv2(F.relu(self.norm2(self.conv1(active)))) + straight
        return result


class CifarResNet18(Backbone):
    """3 x 3 stem with batch norm and ReLU, blocks [2, 2, 2, 2], no final norm; 11,166,144 parameters.

    He et al., "Identity Mappings in Deep Residual Networks", ECCV 2016; as used by Wang and Sabuncu, TMLR 2023.
    """

    dim = WIDTHS[-1]

    def __init__(self, image_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(image_shape[0], WIDTHS[0], 3, 1, 1, bias=False), nn.BatchNorm2d(WIDTHS[0]), nn.ReLU()
        )
        blocks, inputs = [], WIDTHS[0]
        for width, stride in zip(WIDTHS, STRIDES, strict=True):
            for number in range(BLOCKS):
                blocks.append(_PreActivationBlock(inputs, width, stride if number == 0 else 1))
                inputs = width
        self.blocks = nn.Sequential(*blocks)

    def feature_map(self, images: Tensor) -> Tensor:
        """(B, 512, H/8, W/8)."""
        result: Tensor = self.blocks(self.stem(images))
        return result
