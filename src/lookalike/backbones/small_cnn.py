"""A small convolutional network for images of 8 to 32 pixels."""

from __future__ import annotations

from torch import Tensor, nn

from lookalike.backbones.base import Backbone

WIDTHS = (16, 32, 64)


def _block(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]


class SmallCNN(Backbone):
    """Three 3 x 3 convolutions with batch norm, widths 16, 32 and 64, one 2 x 2 max pool; 23 k parameters."""

    dim = WIDTHS[-1]

    def __init__(self, image_shape: tuple[int, ...]) -> None:
        super().__init__()
        first, second, third = WIDTHS
        self.layers = nn.Sequential(
            *_block(image_shape[0], first),
            *_block(first, second),
            nn.MaxPool2d(2),
            *_block(second, third),
        )

    def feature_map(self, images: Tensor) -> Tensor:
        """(B, 64, H/2, W/2)."""
        result: Tensor = self.layers(images)
        return result
