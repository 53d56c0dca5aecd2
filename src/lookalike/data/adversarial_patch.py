"""An adversarial patch on images: its outline, and where it is put."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from lookalike.core.errors import LookalikeError
from lookalike.core.seeds import derive_seed

Outline = Literal["circle", "square"]


def patch_mask(outline: Outline, share: float, height: int, width: int) -> Tensor:
    """(s, s) 1 where the patch is; s = 2 floor(sqrt(area / pi)) + 1 for a disk, floor(sqrt(area)) for a square.

    Args:
        outline: `circle` or `square`.
        share: Share of the image's area.
        height: Height of the image, pixels.
        width: Width of the image, pixels.

    Raises:
        LookalikeError: The patch has no pixel.
    """
    area = math.floor(height * width * share)
    if outline == "square":
        mask = torch.ones(math.isqrt(area), math.isqrt(area))
    else:
        radius = math.floor(math.sqrt(area / math.pi))
        offset = torch.arange(-radius, radius + 1)
        mask = (offset[:, None] ** 2 + offset**2 <= radius**2).float() if radius else torch.zeros(0, 0)
    if not len(mask):
        raise LookalikeError(
            f"adversarial_patch.area {share} is less than a pixel of a {height} x {width} image; raise it."
        )
    return mask


class Place:
    """A random place and turn: whole degrees for a disk, right angles for a square."""

    def __init__(self, generator: torch.Generator, outline: Outline, side: int, height: int, width: int) -> None:
        turns = torch.randint(360 if outline == "circle" else 4, (), generator=generator)
        self.angle = math.radians(int(turns) * (1 if outline == "circle" else 90))
        self.top = int(torch.randint(height - side + 1, (), generator=generator))
        self.left = int(torch.randint(width - side + 1, (), generator=generator))

    def put(self, image: Tensor, patch: Tensor, mask: Tensor) -> Tensor:
        """Image (1, C, H, W) in [0, 1] with the patch (C, s, s) on it.

        Patch and mask are on the CPU, where the gradient of turning is the same every time.
        """
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        matrix = torch.tensor([[[cos, -sin, 0], [sin, cos, 0]]], dtype=patch.dtype, device=patch.device)
        both = torch.cat([patch * mask, mask[None]])[None]
        turned = F.grid_sample(both, F.affine_grid(matrix, list(both.shape), align_corners=False), align_corners=False)
        cover = turned[:, -1:]
        side = mask.shape[0]
        around = (
            self.left,
            image.shape[3] - self.left - side,
            self.top,
            image.shape[2] - self.top - side,
        )
        return image * (1 - F.pad(cover, around).to(image)) + F.pad(turned[:, :-1], around).to(image)


def place_patch(stored: Mapping[str, Tensor], outline: Outline, seed: int) -> Callable[[Tensor, Tensor], Tensor]:
    """What puts a patch on images (B, C, H, W) in [0, 1]; each image's place depends on its id and the seed alone.

    Args:
        stored: `patch` (C, s, s) in [0, 1] and `mask` (s, s), as the stage `train_adversarial_patch` left them.
        outline: Outline of the patch.
        seed: Seed of its places.
    """

    def change(images: Tensor, ids: Tensor) -> Tensor:
        patch, mask = stored["patch"], stored["mask"]
        side, (height, width) = mask.shape[0], images.shape[2:]
        changed = []
        for image, number in zip(images, ids.tolist(), strict=True):
            generator = torch.Generator().manual_seed(derive_seed(seed, "patch", number))
            changed.append(Place(generator, outline, side, height, width).put(image[None], patch, mask))
        return torch.cat(changed)

    return change
