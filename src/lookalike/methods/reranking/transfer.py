"""Key points of one image carried to another by their correlation, and how many arrive where they should.

Min, Kim and Cho (arXiv 2109.05221) (docs/algorithms/chm_corr.md, section 6). Points are (x, y) between -1 and 1,
the ends at the first and last pixel of an axis ("align corners"); nodes are S x S points of that square, row by row.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SIGMA = 17 / 30  # of the Gaussian around the best node, in sides of the grid
REACH = 0.1  # of a node over key points


def node_axis(side: int) -> Tensor:
    """(S,) coordinates of the nodes along an axis."""
    return torch.linspace(-1, 1, side)


def nodes(side: int) -> Tensor:
    """(S * S, 2) x and y of the nodes, row by row."""
    axis = node_axis(side)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([x, y], -1).view(-1, 2)


def from_pixels(points: Tensor, image_size: int) -> Tensor:
    """Points (..., 2) in pixels of a square image as coordinates between -1 and 1."""
    half = image_size // 2
    return (points - half) / half


def to_pixels(points: Tensor, image_size: int) -> Tensor:
    """Inverse of `from_pixels`."""
    half = image_size // 2
    return points * half + half


def predict_nodes(correlation: Tensor, scale: Tensor | float = 1.0, sigma: float | None = None) -> Tensor:
    """Where each source node goes.

    Args:
        correlation: (B, m, S * S) correlation of some source nodes with all target nodes.
        scale: Factor before the soft-max; the authors' is 1.
        sigma: Width of the Gaussian around a row's largest entry, in nodes; 17 / 30 of S when left out.

    Returns:
        (B, m, 2) expected x, y.
    """
    side = round(correlation.shape[-1] ** 0.5)
    sigma = SIGMA * side if sigma is None else sigma
    best = correlation.argmax(-1, keepdim=True)  # the first of equal entries
    place = torch.arange(side, device=correlation.device)
    down, across = (-((place - at) ** 2) / (2 * sigma**2) for at in (best // side, best % side))  # (B, m, S)
    near = (down.exp()[..., :, None] * across.exp()[..., None, :]).flatten(-2)
    chance = (scale * correlation * near).softmax(-1).unflatten(-1, (side, side))
    axis = node_axis(side).to(correlation)
    return torch.stack([chance.sum(-2) @ axis, chance.sum(-1) @ axis], -1)


def reach_of(side: int) -> float:
    """Distance up to which nodes take part in a key point: 0.1, on coarse grids so much that some node does."""
    return max(REACH, 1.5 / (side - 1))  # the middle of four nodes is 1.41 / (side - 1) away


def node_weights(points: Tensor, side: int) -> Tensor:
    """(..., P, S * S) share of each node in a key point.

    Args:
        points: (..., P, 2) key points, x and y between -1 and 1.
        side: Side S of the grid, in nodes.
    """
    apart = points[..., None, :] - nodes(side).to(points)
    near = (reach_of(side) - (apart.square().sum(-1) + 1e-5).sqrt()).clamp_min(0)
    return near / near.sum(-1, keepdim=True)


def transfer_points(
    correlation: Tensor, points: Tensor, scale: Tensor | float = 1.0, sigma: float | None = None
) -> Tensor:
    """Carry key points to the other image.

    Args:
        correlation: (B, S * S, S * S) correlation, source node by target node.
        points: (P, 2) key points for all pairs, or (B, P, 2); where an entry is no point, neither is the answer.
        scale: Factor before the soft-max, as in `predict_nodes`.
        sigma: Width of the Gaussian in nodes, as in `predict_nodes`.

    Returns:
        (B, P, 2) key points in the other image.
    """
    side = round(correlation.shape[1] ** 0.5)
    weights = node_weights(points, side)
    used = (weights > 0).flatten(0, -2).any(0).nonzero()[:, 0]  # 332 of 900 nodes for the classifier's 49 points
    if len(used) < correlation.shape[1]:
        correlation, weights = correlation[:, used], weights[..., used]
    return weights @ predict_nodes(correlation, scale, sigma)


def transfer_loss(moved: Tensor, wanted: Tensor, valid: Tensor) -> Tensor:
    """Mean over pairs of the mean squared distance of a pair's points.

    Args:
        moved: (B, P, 2) where points arrive.
        wanted: (B, P, 2) where they should.
        valid: (B, P) whether each entry is a point.
    """
    squared = (moved - wanted).square().sum(-1)
    counted = torch.where(valid, squared, 0).sum(1) / valid.sum(1).clamp_min(1)
    return counted.sum() / valid.any(1).sum().clamp_min(1)


def right_share(moved: Tensor, wanted: Tensor, valid: Tensor, tolerance: Tensor) -> Tensor:
    """(B,) share of a pair's key points that arrive within a tolerance (PCK); not a number for a pair without any.

    Args:
        moved: (B, P, 2) where points arrive, in the units of `tolerance`.
        wanted: (B, P, 2) where they should, in the same units.
        valid: (B, P) whether each entry is a point.
        tolerance: (B,) distance that is right: alpha times the image's side, or the object's box.
    """
    right = ((moved - wanted).square().sum(-1).sqrt() <= tolerance[:, None]) & valid
    return right.sum(1) / valid.sum(1)


def resize_4d(x: Tensor, side: int) -> Tensor:
    """(B, a, b, c, d) -> (B, side, side, side, side): bilinear over the first two axes and over the last two."""
    batch, a, b, c, d = x.shape
    x = F.interpolate(x.reshape(batch, a * b, c, d), (side, side), mode="bilinear", align_corners=True)
    x = x.view(batch, a, b, side * side).permute(0, 3, 1, 2)
    x = F.interpolate(x, (side, side), mode="bilinear", align_corners=True)
    return x.flatten(2).mT.reshape(batch, side, side, side, side)
