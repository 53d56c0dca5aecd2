"""Where prototypes start: k-means or expectation maximisation over the latents of a class; section 3."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lookalike.errors import LookalikeError
from lookalike.methods.protoflow.prototypes import Prototypes, component_log_prob

MOST_ROUNDS = 1_000
EM_GAIN, FLOOR = 1e-3, 1e-6
DRAWS = 50


@torch.no_grad()
def start_prototypes(
    prototypes: Prototypes, latents: Tensor, labels: Tensor, made: torch.Generator, fit: bool = False
) -> None:
    """Put the prototypes of each class where its latents lie.

    Args:
        prototypes: to set.
        latents: (N, D) of the training images.
        labels: (N,).
        made: source of randomness.
        fit: set variances and weights too, by expectation maximisation from the means.

    Raises:
        LookalikeError: a class has fewer images than prototypes.
    """
    count = prototypes.mean.shape[1]
    for label in range(len(prototypes.mean)):
        own = latents[labels == label]
        if len(own) < count:
            raise LookalikeError(
                f"class {label} has {len(own)} training images, fewer than prototypes.components ({count})."
            )
        begin = own[torch.randperm(len(own), generator=made)[:count]]
        means, _ = lloyd(own, begin, made)
        if fit:
            means, variances, weights = expectation_maximisation(own, means)
            prototypes.log_var[label] = prototypes.gathered(variances, prototypes.log_var).log().to(prototypes.log_var)
            prototypes.logits[label] = weights.log().to(prototypes.logits)
        prototypes.mean[label] = prototypes.gathered(means, prototypes.mean).to(prototypes.mean)


def lloyd(x: Tensor, start: Tensor, made: torch.Generator, stop: float = 1e-4) -> tuple[Tensor, Tensor]:
    """k-means: centres (K, D) and the cluster (N,) of each row.

    Args:
        x: (N, D).
        start: (K, D) first centres.
        made: where an empty cluster starts again, at a random row.
        stop: of the squared sum of the centres' moves.
    """
    centres = start.clone()
    for _ in range(MOST_ROUNDS):
        cluster = torch.cdist(x, centres).argmin(1)
        counts = torch.bincount(cluster, minlength=len(centres))
        sums = torch.zeros_like(centres).index_add_(0, cluster, x)
        moved = sums / counts.clamp_min(1)[:, None]
        empty = (counts == 0).nonzero()[:, 0]
        if len(empty):
            moved[empty] = x[torch.randint(len(x), (len(empty),), generator=made)]
        change = (moved - centres).norm(dim=1).sum().square()
        centres = moved
        if float(change) < stop:
            break
    return centres, cluster


def spread_start(x: Tensor, count: int, random: np.random.RandomState) -> Tensor:
    """(K,) rows to start from: of fifty draws, the one whose points have their rows nearest.

    Args:
        x: (N, D).
        count: K.
        random: source of the draws.
    """
    best, least = torch.zeros(count, dtype=torch.int64), np.inf
    for _ in range(DRAWS):
        rows = torch.from_numpy(random.choice(len(x), count, replace=False))
        distance, nearest = torch.cdist(x, x[rows]).min(1)
        means = torch.zeros(count, dtype=x.dtype).index_add_(0, nearest, distance)
        total = float((means / torch.bincount(nearest, minlength=count).clamp_min(1)).sum())
        if total < least:
            best, least = rows, total
    return best


def expectation_maximisation(x: Tensor, means: Tensor, upstream: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Fit a mixture with diagonal variances to the latents of one class.

    Args:
        x: (N, D).
        means: (K, D) to start from.
        upstream: as the original, whose density takes the root of the variances and the soft-max of the weights that
            its other half estimates.

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
