"""Integrated gradients on a query and on the memory images it used, moving together (Sundararajan et al., ICML 2017).

One memory goes with each point of the path. The original passes two points through the network at once and joins their
memories, so that each query also meets the other point's memory; its maps do not add up to the change of the output.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from lookalike.contracts.explanation import Explanation
from lookalike.methods.memory_wrap.layer import BaselineMemory, MemoryWrapLayer

PIXELS_PER_PASS = 32 * 32 * 64  # one point of the path at least
HALF_STEPS = 20
COMPLETE = 0.01  # share of the output's change by which a map may miss it
# Points of a path for each one that it begins with: more where images are small or few are used.
MOST_STEPS, MOST_PIXELS = 16, 32 * 32 * 21 * 16
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Attribution:
    """What each pixel adds to a class's logit.

    Attributes:
        query: Map (C, H, W) of the query.
        memory: Maps (M, C, H, W) of the memory images.
        error: Share of the logit's change that the sum of all maps misses.
        steps: Points of the path.
    """

    query: Tensor
    memory: Tensor
    error: float
    steps: int


def integrated_gradients(
    embed: Callable[[Tensor], Tensor],
    layer: MemoryWrapLayer | BaselineMemory,
    query: Tensor,
    memory: Tensor,
    target: int,
    baseline: Tensor,
    steps: int = 40,
    shared: int = 1,
) -> Attribution:
    """Gradients of a logit along the straight path from the baseline, by Gauss-Legendre quadrature.

    Args:
        embed: Function of images (B, C, H, W) that gives features (B, D), each row by itself.
        layer: Memory Wrap's layer or its baseline.
        query: Normalised image (C, H, W).
        memory: Memory images with a weight (M, C, H, W), normalised.
        target: Class whose logit is explained.
        baseline: Image (C, H, W) where every path begins, or what broadcasts to it.
        steps: Points of the path.
        shared: Points whose memories are joined; 1 is right, 2 is what the original does.

    Returns:
        What each pixel of the query and of the memory adds to the logit.

    Example:
        >>> import torch
        >>> from lookalike import MemoryWrapLayer
        >>> from lookalike.explain import integrated_gradients
        >>> _ = torch.manual_seed(0)
        >>> layer = MemoryWrapLayer(encoder_output_dim=4, output_dim=3)
        >>> images = torch.rand(3, 1, 2, 2)
        >>> maps = integrated_gradients(lambda x: x.flatten(1), layer, images[0], images[1:], 2, torch.zeros(1, 2, 2))
        >>> maps.query.shape, maps.memory.shape, maps.error < 0.05  # together they make the change of the logit
        (torch.Size([1, 2, 2]), torch.Size([2, 1, 2, 2]), True)
    """
    path = _Path(embed, layer, torch.cat([query[None], memory]), baseline, target)
    return path.attribution([path.integrate(0.0, 1.0, steps, shared)], steps)


@dataclass(frozen=True, eq=False)
class _Piece:
    """A stretch of the path from `low` to `high`.

    Attributes:
        low: Place where it begins, in [0, 1].
        high: Place where it ends, in [0, 1].
        maps: What the pixels add on it (1 + M, C, H, W).
        missed: Sum of the maps less the change of the logit on it.
    """

    low: float
    high: float
    maps: Tensor
    missed: float


class _Path:
    """The straight path of all images (1 + M, C, H, W), the query first, from the baseline."""

    def __init__(
        self,
        embed: Callable[[Tensor], Tensor],
        layer: MemoryWrapLayer | BaselineMemory,
        images: Tensor,
        baseline: Tensor,
        target: int,
    ) -> None:
        self.embed, self.layer, self.baseline, self.target = embed, layer, baseline, target
        self.change = images - baseline
        pixels = images.shape[2] * images.shape[3]
        self.points_per_pass = max(1, PIXELS_PER_PASS // pixels // len(images))
        self.most_refined = max(MOST_STEPS, MOST_PIXELS / pixels / len(images))

    def points(self, where: Tensor) -> Tensor:
        """(S, 1 + M, C, H, W) images at some places of the path (S,)."""
        return self.baseline + where.view(-1, 1, 1, 1, 1) * self.change

    @torch.no_grad()
    def value(self, where: float) -> float:
        """The logit at a place."""
        return float(self._logits(self.points(torch.tensor([where], dtype=self.change.dtype)), 1)[0])

    def integrate(self, low: float, high: float, steps: int, shared: int = 1) -> _Piece:
        """Gauss-Legendre quadrature of a stretch."""
        nodes, weights = np.polynomial.legendre.leggauss(steps)
        total = torch.zeros_like(self.change)
        at_once = max(1, self.points_per_pass // shared) * shared
        for start in range(0, steps, at_once):
            part = slice(start, start + at_once)
            where = torch.from_numpy(low + (high - low) * (nodes[part] + 1) / 2).to(self.change)
            share = torch.from_numpy((high - low) * weights[part] / 2).to(self.change)
            with torch.enable_grad():
                points = self.points(where).requires_grad_(True)
                (gradient,) = torch.autograd.grad(self._logits(points, shared).sum(), points)
            total += torch.einsum("s,sm...->m...", share, gradient)
        maps = self.change * total
        return _Piece(low, high, maps, float(maps.double().sum()) - (self.value(high) - self.value(low)))

    def attribution(self, pieces: list[_Piece], steps: int) -> Attribution:
        """The maps of all pieces together."""
        maps = torch.stack([piece.maps for piece in pieces]).sum(0)
        changed, missed = abs(self.value(1.0) - self.value(0.0)), abs(sum(piece.missed for piece in pieces))
        return Attribution(maps[0], maps[1:], missed / changed if changed else float(missed > 0), steps)

    def _logits(self, points: Tensor, shared: int) -> Tensor:
        """(S,) logits: all points pass the network together, the layer one memory at a time."""
        features = self.embed(points.flatten(0, 1)).unflatten(0, points.shape[:2])  # (S, 1 + M, D)
        logits_of_groups = []
        for group in features.split(shared):
            logits = self.layer(group[:, 0], group[:, 1:].flatten(0, 1))
            assert isinstance(logits, Tensor)
            logits_of_groups.append(logits[:, self.target])
        return torch.cat(logits_of_groups)


def complete_attribution(
    embed: Callable[[Tensor], Tensor],
    layer: MemoryWrapLayer | BaselineMemory,
    query: Tensor,
    memory: Tensor,
    target: int,
    baseline: Tensor,
    steps: int,
) -> Attribution:
    """Integrated gradients with as many points as it takes to add up to within `COMPLETE` of the change.

    Sparsemax and ReLU have kinks, so that a fixed number of points is not enough for every query. The stretch that
    misses most of its own change is halved, until all together miss little or no more points may be used.
    """
    path = _Path(embed, layer, torch.cat([query[None], memory]), baseline, target)
    most_points = int(steps * path.most_refined)
    pieces = [path.integrate(0.0, 1.0, steps)]
    while True:
        result = path.attribution(pieces, steps)
        if result.error < COMPLETE or steps >= most_points:
            return result
        worst = max(pieces, key=lambda piece: abs(piece.missed))
        middle = (worst.low + worst.high) / 2
        pieces.remove(worst)
        pieces += [path.integrate(low, high, HALF_STEPS) for low, high in ((worst.low, middle), (middle, worst.high))]
        steps += 2 * HALF_STEPS


def explain_by_gradients(
    embed: Callable[[Tensor], Tensor],
    layer: MemoryWrapLayer | BaselineMemory,
    record: Explanation,
    load: Callable[[list[int]], Tensor],
    baseline: Tensor,
    steps: int,
) -> Explanation:
    """The record with maps (H, W), channels summed, of its query, its example and its counterfactual.

    Args:
        embed: Function of images that gives features.
        layer: Memory Wrap's layer or its baseline.
        record: Explanation whose exemplars are all memory images with a weight.
        load: Function of image ids that gives normalised images (n, C, H, W).
        baseline: Image (C, H, W) where every path begins, or what broadcasts to it.
        steps: Points to begin with.
    """
    query, memory = load([record.query])[0], load([exemplar.id for exemplar in record.exemplars])
    result = complete_attribution(embed, layer, query, memory, record.predicted, baseline, steps)
    if result.error >= COMPLETE:
        log.warning(
            "the attribution of image %d misses the change of its logit by %.1f %%, even with %d steps",
            record.query,
            100 * result.error,
            result.steps,
        )
    shown = {id(exemplar) for exemplar in (record.example, record.counterfactual) if exemplar is not None}
    return replace(
        record,
        attribution=result.query.sum(0).tolist(),
        completeness_error=result.error,
        exemplars=[
            replace(exemplar, attribution=result.memory[place].sum(0).tolist()) if id(exemplar) in shown else exemplar
            for place, exemplar in enumerate(record.exemplars)
        ],
    )
