"""Corruptions in the manner of ImageNet-C (Hendrycks and Dietterich, ICLR 2019), usable on any set.

Strengths are those of ImageNet-C; for images of up to 64 pixels those of CIFAR-10-C, since ImageNet-C's blur would
be none there. Blur is in proportion to the side (224 and 32 pixels). Results are cut to 8 bits, as stored images are;
the JPEG compression of the published ImageNet-C files is left out.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lookalike.core.seeds import derive_seed

NOISE = (0.08, 0.12, 0.18, 0.26, 0.38)  # standard deviation, full range 1
BLUR = (1.0, 2.0, 3.0, 4.0, 6.0)  # standard deviation in pixels of a side of 224
SMALL_NOISE = (0.04, 0.06, 0.08, 0.09, 0.10)  # CIFAR-10-C
SMALL_BLUR = (0.4, 0.6, 0.7, 0.8, 1.0)  # CIFAR-10-C, pixels of a side of 32; not less for smaller images
SMALL_SIDE = 64
TRUNCATE = 4.0  # standard deviations that the kernel reaches


def gaussian_noise(images: Tensor, ids: Tensor, severity: int, seed: int) -> Tensor:
    """Images (B, C, H, W) in [0, 1] with noise; each image's noise depends on its id and the seed alone."""
    noise = torch.empty(images.shape)
    for row, image in enumerate(ids.tolist()):
        generator = torch.Generator().manual_seed(derive_seed(seed, "gaussian_noise", severity, image))
        noise[row].normal_(generator=generator)
    strength = (SMALL_NOISE if is_small(images) else NOISE)[severity - 1]
    return _as_stored(images + strength * noise.to(images.device))


def gaussian_blur(images: Tensor, ids: Tensor, severity: int, seed: int) -> Tensor:
    """Images (B, C, H, W) in [0, 1] blurred; edges repeat their pixels."""
    sigma = blur_width(images, severity)
    radius = int(TRUNCATE * sigma + 0.5)
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float64)
    kernel = torch.exp(-(offsets**2) / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).to(images)
    channels = images.shape[1]
    across = kernel.view(1, 1, 1, -1).expand(channels, 1, 1, -1)
    padded = F.pad(images, (radius, radius, radius, radius), mode="replicate")
    blurred = F.conv2d(F.conv2d(padded, across, groups=channels), across.transpose(2, 3), groups=channels)
    return _as_stored(blurred)


def is_small(images: Tensor) -> bool:
    """Whether images (B, C, H, W) are of the size of CIFAR's rather than ImageNet's."""
    return min(images.shape[2:]) <= SMALL_SIDE


def blur_width(images: Tensor, severity: int) -> float:
    """Standard deviation of the blur in pixels."""
    side = min(images.shape[2:])
    return SMALL_BLUR[severity - 1] * max(1, side / 32) if is_small(images) else BLUR[severity - 1] * side / 224


APPLY = {"gaussian_noise": gaussian_noise, "gaussian_blur": gaussian_blur}


def _as_stored(images: Tensor) -> Tensor:
    """Cut to [0, 1] and to 256 levels, downwards as ImageNet-C does; a value that is a level stays one."""
    return torch.floor(images.clamp(0, 1) * 255 + 1e-3) / 255
