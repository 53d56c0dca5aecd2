"""Random warps of images: pairs whose correspondence is known, for training without annotated pairs.

An image is seen as it is, and through an affine map bent by a thin-plate spline; where a point of the first view lies
in the second follows from the map.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

ROTATION, LOG_SCALE, SHEAR, SHIFT = 0.5, 0.25, 0.2, 0.25
BEND = 0.06  # standard deviation of the control points of the spline
CONTROL = 3  # control points a side
GAIN, NOISE = 0.2, 0.03
POINTS = 9  # key points a side


@dataclass(frozen=True)
class WarpedPairs:
    """Images and their warps.

    Attributes:
        source, target: (B, C, H, W).
        points: (P, 2) key points of the sources, x and y between -1 and 1.
        moved: (B, P, 2) where they are in the targets.
        valid: (B, P) whether that is inside.
    """

    source: Tensor
    target: Tensor
    points: Tensor
    moved: Tensor
    valid: Tensor


def warp_images(images: Tensor, generator: torch.Generator) -> WarpedPairs:
    """Warp each image at random.

    The target's value at y is the source's at g(y), for an affine map g bent by a spline; a source point x is found at
    the y with g(y) = x by a few steps of a fixed-point iteration.

    Args:
        images: (B, C, H, W) normalised.
        generator: Generator on the images' device.
    """
    batch, device = len(images), images.device

    def uniform(size: float, *shape: int) -> Tensor:
        return (torch.rand(batch, *shape, generator=generator, device=device) * 2 - 1) * size

    angle, scale, shear = uniform(ROTATION), uniform(LOG_SCALE).exp(), uniform(SHEAR)
    cos, sin = angle.cos(), angle.sin()
    turn = torch.stack([cos, -sin, sin, cos], 1).view(-1, 2, 2)
    lean = torch.eye(2, device=device).repeat(batch, 1, 1)
    lean[:, 0, 1] = shear
    linear = (turn @ lean) * scale[:, None, None]
    shift = uniform(SHIFT, 2)
    bend = torch.randn(batch, CONTROL**2, 2, generator=generator, device=device) * BEND

    def look(at: Tensor) -> Tensor:
        """g: points (B, n, 2) of the target -> where the source is read."""
        return at @ linear.mT + shift[:, None] + _spline(at, bend)

    height, width = images.shape[-2:]
    grid = _square(height, width, device).view(1, -1, 2).expand(batch, -1, -1)
    read = look(grid).view(batch, height, width, 2)
    target = F.grid_sample(images, read, mode="bilinear", padding_mode="zeros", align_corners=True)
    gain = 1 + uniform(GAIN, images.shape[1], 1, 1)
    target = target * gain + NOISE * torch.randn(target.shape, generator=generator, device=device)
    points = _square(POINTS, POINTS, device).view(-1, 2) * (1 - 1 / POINTS)
    wanted = points.expand(batch, -1, -1)
    back = torch.linalg.inv(linear)
    moved = (wanted - shift[:, None]) @ back.mT
    for _ in range(20):  # the spline is a contraction: it moves neighbours by a fraction of their distance
        moved = (wanted - shift[:, None] - _spline(moved, bend)) @ back.mT
    valid = (moved.abs() <= 1).all(-1) & ((look(moved) - wanted).abs().amax(-1) < 1e-2)
    return WarpedPairs(images, target, points, moved, valid)


def _square(height: int, width: int, device: torch.device) -> Tensor:
    """(height, width, 2) x and y from -1 to 1."""
    y, x = torch.meshgrid(
        torch.linspace(-1, 1, height, device=device), torch.linspace(-1, 1, width, device=device), indexing="ij"
    )
    return torch.stack([x, y], -1)


def _spline(at: Tensor, bend: Tensor) -> Tensor:
    """Thin-plate spline (B, n, 2) that takes given values (B, K, 2) at the control points."""
    control = _square(CONTROL, CONTROL, at.device).view(-1, 2)
    radial = _radial(torch.cdist(control, control))
    lines = torch.cat([torch.ones(len(control), 1, device=at.device), control], 1)  # (K, 3)
    system = torch.cat([torch.cat([radial, lines], 1), torch.cat([lines.T, torch.zeros(3, 3, device=at.device)], 1)])
    values = torch.cat([bend, bend.new_zeros(len(bend), 3, 2)], 1)
    weights = torch.linalg.solve(system, values)  # (B, K + 3, 2)
    basis = torch.cat([_radial(torch.cdist(at, control.expand(len(at), -1, -1))), torch.ones_like(at[..., :1]), at], -1)
    return basis @ weights


def _radial(distance: Tensor) -> Tensor:
    return distance.square() * distance.clamp_min(1e-9).log()
