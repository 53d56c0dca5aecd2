"""A small convolutional network, for small images on a CPU."""

from __future__ import annotations

import itertools
import math

from torch import Tensor, nn

from lookalike.backbones.base import Backbone

WIDTHS = (16, 32, 64)
SMALLEST_MAP = 7  # pixels; smaller images are pooled once all the same


def _block(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]


class SmallCNN(Backbone):
    """3 x 3 convolutions with batch norm, widths 16, 32 and 64, and 2 x 2 max pools down to a map of side 4 to 13.

    An 8-pixel digit passes three convolutions and one pool (23 k parameters), a 64-pixel image four convolutions
    and three pools (60 k).
    """

    dim = WIDTHS[-1]

    def __init__(self, image_shape: tuple[int, ...]) -> None:
        super().__init__()
        channels, *size = image_shape
        pools = max(1, int(math.log2(min(size) / SMALLEST_MAP)))
        widths = [*WIDTHS, *[WIDTHS[-1]] * (pools - 2)]
        # Larger images are pooled after every convolution: at full size those would take most of the time.
        pooled = {1} if pools == 1 else set(range(pools))
        layers: list[nn.Module] = []
        for place, (before, width) in enumerate(itertools.pairwise([channels, *widths])):
            layers += _block(before, width) + [nn.MaxPool2d(2)] * (place in pooled)
        self.layers = nn.Sequential(*layers)

    def feature_map(self, images: Tensor) -> Tensor:
        """(B, 64, h, w), h and w from 4 to 13 for squares of 8 to 224 pixels."""
        result: Tensor = self.layers(images)
        return result
