"""A small convolutional network, for small images on a CPU."""

from __future__ import annotations

import itertools
import math

from torch import Tensor, nn

from lookalike.contracts.backbone import Backbone

WIDTHS = (16, 32, 64)
SMALLEST_MAP = 7  # pixels; smaller images are pooled once all the same


def _block(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]


class SmallCNN(Backbone):
    """3 x 3 convolutions with batch norm, widths 16, 32 and 64, halved down to a map of side 4 to 13.

    An 8-pixel digit passes three convolutions and one 2 x 2 max pool (23 k parameters), a 64-pixel image four
    convolutions, the first of stride 2, and two pools (60 k). Halving early is what keeps it fast on a CPU.
    """

    dim = WIDTHS[-1]

    def __init__(self, image_shape: tuple[int, ...]) -> None:
        super().__init__()
        channels, *size = image_shape
        halvings = max(1, int(math.log2(min(size) / SMALLEST_MAP)))
        widths = [*WIDTHS, *[WIDTHS[-1]] * (halvings - 2)]
        stride = 2 if halvings > 2 else 1
        pooled = {1} if halvings == 1 else set(range(halvings - stride + 1))
        layers: list[nn.Module] = []
        for place, (before, width) in enumerate(itertools.pairwise([channels, *widths])):
            layers += _block(before, width, stride if place == 0 else 1) + [nn.MaxPool2d(2)] * (place in pooled)
        self.layers = nn.Sequential(*layers)

    def feature_map(self, images: Tensor) -> Tensor:
        """(B, 64, h, w), h and w from 4 to 13 for squares of 8 to 224 pixels."""
        result: Tensor = self.layers(images)
        return result
