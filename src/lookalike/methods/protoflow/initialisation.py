"""Where prototypes start: k-means or expectation maximisation over the latents of a class.

docs/algorithms/protoflow.md, section 5, has the formulas.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lookalike.core.errors import LookalikeError
from lookalike.methods.protoflow.prototypes import GaussianPrototypes, component_log_prob

MOST_ROUNDS = 1_000
EM_GAIN, FLOOR = 1e-3, 1e-6
STOP = 1e-4  # squared sum of the centres' moves


@torch.no_grad()
def init_prototypes(
    prototypes: GaussianPrototypes, latents: Tensor, labels: Tensor, generator: torch.Generator, fit: bool = False
) -> None:
    """Put the prototypes of each class where its latents lie.

    Args:
        prototypes: The prototypes to set.
        latents: (N, D) latents of the training images.
        labels: (N,) classes of the training images.
        generator: Source of randomness.
        fit: Whether to set variances and weights too, by expectation maximisation from the means.

    Raises:
        LookalikeError: A class has fewer images than prototypes.
    """
    count = prototypes.mean.shape[1]
    for label in range(len(prototypes.mean)):
        of_class = latents[labels == label]
        if len(of_class) < count:
            raise LookalikeError(
                f"class {label} has {len(of_class)} training images, fewer than prototypes.components ({count})."
            )
        begin = of_class[torch.randperm(len(of_class), generator=generator)[:count]]
        means, _ = lloyd(of_class, begin, generator)
        if fit:
            means, variances, weights = expectation_maximisation(of_class, means)
            prototypes.log_var[label] = prototypes.gathered(variances, prototypes.log_var).log().to(prototypes.log_var)
            prototypes.logits[label] = weights.log().to(prototypes.logits)
        prototypes.mean[label] = prototypes.gathered(means, prototypes.mean).to(prototypes.mean)


def lloyd(x: Tensor, start: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """k-means: centres (K, D) and the cluster (N,) of each row.

    Args:
        x: Rows (N, D).
        start: First centres (K, D).
        generator: Source of the row where an empty cluster starts again.
    """
    centres = start.clone()
    for _ in range(MOST_ROUNDS):
        cluster = torch.cdist(x, centres).argmin(1)
        counts = torch.bincount(cluster, minlength=len(centres))
        sums = torch.zeros_like(centres).index_add_(0, cluster, x)
        moved = sums / counts.clamp_min(1)[:, None]
        empty = (counts == 0).nonzero()[:, 0]
        if len(empty):
            moved[empty] = x[torch.randint(len(x), (len(empty),), generator=generator)]
        change = (moved - centres).norm(dim=1).sum().square()
        centres = moved
        if float(change) < STOP:
            break
    return centres, cluster


def expectation_maximisation(x: Tensor, means: Tensor, upstream: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Fit a mixture with diagonal variances to the latents of one class.

    Args:
        x: Latents (N, D) of one class.
        means: Means (K, D) to start from.
        upstream: Whether to do as the original, whose density takes the root of the variances and the soft-max of the
            weights that its other half estimates.

    Returns:
        Means (K, D), variances (K, D), weights (K,).
    """
    count, centre = len(means), x.mean(0)
    x, means = x - centre, means - centre  # float32 keeps few digits of differences of large squares
    variances, weights = torch.ones_like(means), x.new_full((count,), 1 / count)
    before = -np.inf
    for _ in range(MOST_ROUNDS + 1):
        share = _weighted(x, means, variances, weights, upstream).softmax(1)  # (N, K)
        total = share.sum(0) + FLOOR
        weights = total / len(x)
        means = share.T @ x / total[:, None]
        variances = share.T @ x.square() / total[:, None] - means.square() + FLOOR
        variances = variances.clamp_min(FLOOR)
        score = float(_weighted(x, means, variances, weights, upstream).logsumexp(1).mean())
        if score - before < EM_GAIN:
            break
        before = score
    return means + centre, variances, weights


def _weighted(x: Tensor, means: Tensor, variances: Tensor, weights: Tensor, upstream: bool) -> Tensor:
    log_vars = variances.log() / 2 if upstream else variances.log()
    log_weights = weights.log_softmax(0) if upstream else weights.log()
    return component_log_prob(x, means[None], log_vars[None])[:, 0] + log_weights
