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

from lookalike.explanation.record import Explanation
from lookalike.methods.memory_wrap.layer import BaselineMemory, MemoryWrapLayer

IMAGES_PER_PASS = 512
COMPLETE = 0.01  # share of the output's change by which a map may miss it
MOST_STEPS = 2560
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Attribution:
    """What each pixel adds to a class's logit.

    Attributes:
        query: (C, H, W).
        memory: (M, C, H, W).
        error: |sum of both - change of the logit| / |change of the logit|.
        steps: points of the path.
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
        embed: images (B, C, H, W) -> features (B, D), each row by itself.
        layer: Memory Wrap's or its baseline.
        query: (C, H, W) normalised.
        memory: (M, C, H, W) the images with a weight.
        target: class.
        baseline: (C, H, W) where every image's path begins, or what broadcasts to it.
        steps: points of the path.
        shared: points whose memories are joined; 1 is right, 2 is what the original does.
    """
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    images = torch.cat([query[None], memory])  # (1 + M, C, H, W)
    change = images - baseline
    total = torch.zeros_like(change)
    at_once = max(1, IMAGES_PER_PASS // len(images) // shared) * shared
    for start in range(0, steps, at_once):
        part = slice(start, start + at_once)
        where = torch.from_numpy((nodes[part] + 1) / 2).to(images)
        share = torch.from_numpy(weights[part] / 2).to(images)
        points = baseline + where.view(-1, 1, 1, 1, 1) * change  # (S, 1 + M, C, H, W)
        with torch.enable_grad():
            points.requires_grad_(True)
            logits = _logits(embed, layer, points, target, shared)
            (gradient,) = torch.autograd.grad(logits.sum(), points)
        total += torch.einsum("s,sm...->m...", share, gradient)
    maps = change * total
    with torch.no_grad():
        ends = torch.stack([baseline.expand_as(images), images])
        before, after = _logits(embed, layer, ends, target, 1).double().tolist()
    missed = abs(float(maps.double().sum()) - (after - before))
    return Attribution(maps[0], maps[1:], missed / abs(after - before) if after != before else float(missed > 0), steps)


def _logits(
    embed: Callable[[Tensor], Tensor],
    layer: MemoryWrapLayer | BaselineMemory,
    points: Tensor,
    target: int,
    shared: int,
) -> Tensor:
    """(S,) logits of a class; points (S, 1 + M, C, H, W) pass the network together, the layer one memory at a time."""
    features = embed(points.flatten(0, 1)).unflatten(0, points.shape[:2])  # (S, 1 + M, D)
    found = []
    for group in features.split(shared):
        logits = layer(group[:, 0], group[:, 1:].flatten(0, 1))
        assert isinstance(logits, Tensor)
        found.append(logits[:, target])
    return torch.cat(found)


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

    Sparsemax and ReLU have kinks, so that a fixed number of points is not enough for every query.
    """
    while True:
        found = integrated_gradients(embed, layer, query, memory, target, baseline, steps)
        if found.error < COMPLETE or 2 * steps > MOST_STEPS:
            return found
        steps *= 2


def explain_by_gradients(
    embed: Callable[[Tensor], Tensor],
    layer: MemoryWrapLayer | BaselineMemory,
    record: Explanation,
    take: Callable[[list[int]], Tensor],
    baseline: Tensor,
    steps: int,
) -> Explanation:
    """The record with maps (H, W), channels summed, of its query, its example and its counterfactual.

    Args:
        embed: images -> features.
        layer: Memory Wrap's or its baseline.
        record: exemplars are all memory images with a weight.
        take: image ids -> normalised images (n, C, H, W).
        baseline: (C, H, W) or what broadcasts to it.
        steps: points to begin with.
    """
    query, memory = take([record.query])[0], take([exemplar.id for exemplar in record.exemplars])
    found = complete_attribution(embed, layer, query, memory, record.predicted, baseline, steps)
    if found.error >= COMPLETE:
        log.warning(
            "the heat map of image %d misses the change of its logit by %.1f %%, even with %d steps",
            record.query,
            100 * found.error,
            found.steps,
        )
    shown = {id(exemplar) for exemplar in (record.example, record.counterfactual) if exemplar is not None}
    return replace(
        record,
        heat_map=found.query.sum(0).tolist(),
        completeness_error=found.error,
        exemplars=[
            replace(exemplar, heat_map=found.memory[place].sum(0).tolist()) if id(exemplar) in shown else exemplar
            for place, exemplar in enumerate(record.exemplars)
        ],
    )
