"""Networks for images of 32 pixels, as Memory Wrap's experiments use them: stems that keep the size.

MobileNet-v2 (Sandler et al., CVPR 2018), ResNet (He et al., CVPR 2016), EfficientNet-B0 (Tan and Le, ICML 2019),
DenseNet-BC (Huang et al., CVPR 2017), GoogLeNet with batch norm (Szegedy et al., CVPR 2015), ShuffleNet-v2 (Ma et al.,
ECCV 2018), Wide ResNet (Zagoruyko and Komodakis, BMVC 2016). Images of other sizes work too: features are means over
the map.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lookalike.contracts.backbone import Backbone


def conv_norm(
    inputs: int, outputs: int, size: int, stride: int = 1, groups: int = 1, bias: bool = False
) -> nn.Sequential:
    """Convolution that keeps the size at stride 1, then batch norm."""
    convolution = nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=bias)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs))


class _MobileBlock(nn.Module):
    """Expand, filter each channel, project; a shortcut at stride 1."""

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int) -> None:
        super().__init__()
        wide = expansion * inputs
        self.layers = nn.Sequential(
            conv_norm(inputs, wide, 1),
            nn.ReLU(),
            conv_norm(wide, wide, 3, stride, groups=wide),
            nn.ReLU(),
            conv_norm(wide, outputs, 1),
        )
        self.straight = stride == 1
        self.shortcut = conv_norm(inputs, outputs, 1) if self.straight and inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.layers(x)
        return result + self.shortcut(x) if self.straight else result


class CifarMobileNetV2(Backbone):
    """2,284,112 parameters."""

    dim = 1280
    STAGES = ((1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))

    def __init__(self, image_shape: tuple[int, ...]) -> None:
        super().__init__()
        layers: list[nn.Module] = [conv_norm(image_shape[0], 32, 3), nn.ReLU()]
        inputs = 32
        for expansion, outputs, count, stride in self.STAGES:
            for number in range(count):
                layers.append(_MobileBlock(inputs, outputs, expansion, stride if number == 0 else 1))
                inputs = outputs
        self.layers = nn.Sequential(*layers, conv_norm(inputs, self.dim, 1), nn.ReLU())

    def feature_map(self, images: Tensor) -> Tensor:
        """(B, 1280, H/8, W/8)."""
        result: Tensor = self.layers(images)
        return result


class _ResidualBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first, self.second = conv_norm(inputs, outputs, 3, stride), conv_norm(outputs, outputs, 3)
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else conv_norm(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.second(F.relu(self.first(x))) + self.shortcut(x))


class CifarResNet(Backbone):
    """ResNet-18 with activations after the sums; 11,168,832 parameters."""

    dim = 512

    def __init__(self, image_shape: tuple[int, ...]) -> None:
        super().__init__()
        layers: list[nn.Module] = [conv_norm(image_shape[0], 64, 3), nn.ReLU()]
        inputs = 64
        for outputs, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
            layers += [_ResidualBlock(inputs, outputs, stride), _ResidualBlock(outputs, outputs, 1)]
            inputs = outputs
        self.layers = nn.Sequential(*layers)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0, math.sqrt(2 / (module.kernel_size[0] ** 2 * module.out_channels)))

    def feature_map(self, images: Tensor) -> Tensor:
        """(B, 512, H/8, W/8)."""
        result: Tensor = self.layers(images)
        return result


class _EfficientBlock(nn.Module):
    """Expand, filter each channel, weigh channels by squeeze and excitation, project."""

    def __init__(self, inputs: int, outputs: int, size: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = expansion * inputs
        expand = [conv_norm(inputs, wide, 1), nn.SiLU()] if expansion > 1 else []
        self.filtered = nn.Sequential(*expand, conv_norm(wide, wide, size, stride, groups=wide), nn.SiLU())
        squeezed = inputs // 4
        self.gate = nn.Sequential(nn.Conv2d(wide, squeezed, 1), nn.SiLU(), nn.Conv2d(squeezed, wide, 1), nn.Sigmoid())
        self.project = conv_norm(wide, outputs, 1)
        self.straight = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        filtered = self.filtered(x)
        result: Tensor = self.project(filtered * self.gate(filtered.mean((2, 3), keepdim=True)))
        return result + x if self.straight else result


class CifarEfficientNetB0(Backbone):
    """Without the last convolution; 3,595,388 parameters (the original also holds 1,088 that it never uses)."""

    dim = 320
    BLOCKS, EXPANSION = (1, 2, 2, 3, 3, 4, 1), (1, 6, 6, 6, 6, 6, 6)
    WIDTHS, SIZES, STRIDES = (16, 24, 40, 80, 112, 192, 320), (3, 3, 5, 3, 5, 5, 3), (1, 2, 2, 2, 1, 2, 1)

    def __init__(self, image_shape: tuple[int, ...]) -> None:
        super().__init__()
        layers: list[nn.Module] = [conv_norm(image_shape[0], 32, 3), nn.SiLU()]
        inputs = 32
        for count, expansion, outputs, size, stride in zip(
            self.BLOCKS, self.EXPANSION, self.WIDTHS, self.SIZES, self.STRIDES, strict=True
        ):
            for number in range(count):
                layers.append(_EfficientBlock(inputs, outputs, size, stride if number == 0 else 1, expansion))
                inputs = outputs
        self.layers = nn.Sequential(*layers)
        self.dropout = nn.Dropout(0.2)

    def feature_map(self, images: Tensor) -> Tensor:
        """(B, 320, H/16, W/16)."""
        result: Tensor = self.layers(images)
        return result

    def forward(self, images: Tensor) -> Tensor:
        """Pooled features (B, 320), some left out in training."""
        result: Tensor = self.dropout(super().forward(images))
        return result


class _DenseLayer(nn.Module):
    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.BatchNorm2d(inputs),
            nn.ReLU(),
            nn.Conv2d(inputs, 4 * growth, 1, bias=False),
            nn.BatchNorm2d(4 * growth),
            nn.ReLU(),
            nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.layers(x), x], 1)


class CifarDenseNet(Backbone):
    """Growth 12, blocks 6, 12, 24, 16, compression one half; 996,768 parameters."""

    dim = 384
    GROWTH, BLOCKS = 12, (6, 12, 24, 16)

    def __init__(self, image_shape: tuple[int, ...]) -> None:
        super().__init__()
        width = 2 * self.GROWTH
        layers: list[nn.Module] = [nn.Conv2d(image_shape[0], width, 3, padding=1, bias=False)]
        for number, count in enumerate(self.BLOCKS):
            for _ in range(count):
                layers.append(_DenseLayer(width, self.GROWTH))
                width += self.GROWTH
            if number + 1 < len(self.BLOCKS):
                half = nn.Conv2d(width, width // 2, 1, bias=False)
                layers += [nn.BatchNorm2d(width), nn.ReLU(), half, nn.AvgPool2d(2, ceil_mode=True)]
                width //= 2
        self.layers = nn.Sequential(*layers, nn.BatchNorm2d(width), nn.ReLU())

    def feature_map(self, images: Tensor) -> Tensor:
        """(B, 384, H/8, W/8)."""
        result: Tensor = self.layers(images)
        return result


class _Inception(nn.Module):
    """Four branches side by side: 1 x 1, 3 x 3, two 3 x 3 for a 5 x 5, pooling."""

    def __init__(self, inputs: int, pointwise: int, three: tuple[int, int], five: tuple[int, int], pooled: int) -> None:
        super().__init__()

        def convolution(before: int, after: int, size: int) -> list[nn.Module]:
            return [conv_norm(before, after, size, bias=True), nn.ReLU()]

        self.branches = nn.ModuleList(
            [
                nn.Sequential(*convolution(inputs, pointwise, 1)),
                nn.Sequential(*convolution(inputs, three[0], 1), *convolution(*three, 3)),
                nn.Sequential(
                    *convolution(inputs, five[0], 1), *convolution(*five, 3), *convolution(five[1], five[1], 3)
                ),
                nn.Sequential(nn.MaxPool2d(3, 1, 1), *convolution(inputs, pooled, 1)),
            ]
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


class CifarGoogLeNet(Backbone):
    """Without auxiliary heads; 6,156,000 parameters."""

    dim = 1024

    def __init__(self, image_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            conv_norm(image_shape[0], 192, 3, bias=True),
            nn.ReLU(),
            _Inception(192, 64, (96, 128), (16, 32), 32),
            _Inception(256, 128, (128, 192), (32, 96), 64),
            nn.MaxPool2d(3, 2, 1),
            _Inception(480, 192, (96, 208), (16, 48), 64),
            _Inception(512, 160, (112, 224), (24, 64), 64),
            _Inception(512, 128, (128, 256), (24, 64), 64),
            _Inception(512, 112, (144, 288), (32, 64), 64),
            _Inception(528, 256, (160, 320), (32, 128), 128),
            nn.MaxPool2d(3, 2, 1),
            _Inception(832, 256, (160, 320), (32, 128), 128),
            _Inception(832, 384, (192, 384), (48, 128), 128),
        )

    def feature_map(self, images: Tensor) -> Tensor:
        """(B, 1024, H/4, W/4)."""
        result: Tensor = self.layers(images)
        return result


def _shuffle(x: Tensor) -> Tensor:
    """Channels of two groups, interleaved."""
    return nn.functional.channel_shuffle(x, 2)


class _ShuffleBlock(nn.Module):
    """Half of the channels passes, the other half is filtered."""

    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        self.filtered = nn.Sequential(
            conv_norm(half, half, 1),
            nn.ReLU(),
            conv_norm(half, half, 3, groups=half),
            conv_norm(half, half, 1),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        passed, rest = x.chunk(2, 1)
        return _shuffle(torch.cat([passed, self.filtered(rest)], 1))


class _ShuffleDown(nn.Module):
    """Half the size: both branches filter."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        half = outputs // 2
        self.left = nn.Sequential(conv_norm(inputs, inputs, 3, 2, groups=inputs), conv_norm(inputs, half, 1), nn.ReLU())
        self.right = nn.Sequential(
            conv_norm(inputs, half, 1),
            nn.ReLU(),
            conv_norm(half, half, 3, 2, groups=half),
            conv_norm(half, half, 1),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return _shuffle(torch.cat([self.left(x), self.right(x)], 1))


class CifarShuffleNetV2(Backbone):
    """341,792 parameters at half width, 1,253,604 at full width.

    Args:
        image_shape: (C, H, W).
        widths: Channels of the three stages.
    """

    dim = 1024

    def __init__(self, image_shape: tuple[int, ...], widths: tuple[int, int, int] = (48, 96, 192)) -> None:
        super().__init__()
        layers: list[nn.Module] = [conv_norm(image_shape[0], 24, 3), nn.ReLU()]
        inputs = 24
        for width, count in zip(widths, (3, 7, 3), strict=True):
            layers += [_ShuffleDown(inputs, width), *(_ShuffleBlock(width) for _ in range(count))]
            inputs = width
        self.layers = nn.Sequential(*layers, conv_norm(inputs, self.dim, 1), nn.ReLU())

    def feature_map(self, images: Tensor) -> Tensor:
        """(B, 1024, H/8, W/8)."""
        result: Tensor = self.layers(images)
        return result


class _WideBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.BatchNorm2d(inputs),
            nn.ReLU(),
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.Dropout(0.3),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, stride, 1, bias=False),
        )
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.layers(x) + self.shortcut(x)
        return result


class WideResNet(Backbone):
    """Pre-activation, dropout 0.3 in the blocks; 36,472,784 parameters at 28-10, 1,466,320 at 28-2.

    Args:
        image_shape: (C, H, W).
        width: Factor k of the name that widens the stages.
        depth: Number of layers in the name.
    """

    def __init__(self, image_shape: tuple[int, ...], width: int = 10, depth: int = 28) -> None:
        super().__init__()
        self.dim = 64 * width
        layers: list[nn.Module] = [nn.Conv2d(image_shape[0], 16, 3, padding=1, bias=False)]
        inputs = 16
        for outputs, stride in ((16 * width, 1), (32 * width, 2), (64 * width, 2)):
            for number in range((depth - 4) // 6):
                layers.append(_WideBlock(inputs, outputs, stride if number == 0 else 1))
                inputs = outputs
        self.layers = nn.Sequential(*layers, nn.BatchNorm2d(inputs, momentum=0.9), nn.ReLU())
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def feature_map(self, images: Tensor) -> Tensor:
        """(B, 64 k, H/4, W/4)."""
        result: Tensor = self.layers(images)
        return result
