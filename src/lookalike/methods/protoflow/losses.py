"""Losses of a prototype classifier on a flow, in log-space (docs/algorithms/protoflow.md, section 4).

`ldj` (B,) is the flow's, nats; `log_probs` (B, C) are log p(z | class); `dims` the numbers of an image, C H W.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

MOST_NUMBERS = 2**24  # of pairs of components in memory at a time: 64 MiB a tensor


def label_log_prob(log_probs: Tensor, labels: Tensor) -> Tensor:
    """(B,) of the given classes; where the label is -1, of all classes together without their prior."""
    of_label = log_probs.gather(1, labels.clamp_min(0)[:, None])[:, 0]
    return torch.where(labels < 0, log_probs.logsumexp(1), of_label)


def marginal_log_prob(log_probs: Tensor) -> Tensor:
    """(...) log p(z) of (..., C), classes equally likely."""
    return log_probs.logsumexp(-1) - math.log(log_probs.shape[-1])


def cross_entropy(log_probs: Tensor, labels: Tensor) -> Tensor:
    """() of the posterior."""
    return F.nll_loss(log_probs.log_softmax(1), labels)


def ramp_up(epoch: int, start: int, length: int) -> float:
    """Weight of the consistency loss, up to 1 over so many epochs."""
    return min(1.0, (epoch - start + 1) / length)


def hellinger(means: Tensor, log_vars: Tensor, other_means: Tensor, other_log_vars: Tensor) -> Tensor:
    """Squared Hellinger distances of normals, taken to the power 1/D of what overlaps.

    Args:
        means: (..., D).
        log_vars: (..., D).
        other_means: (..., D).
        other_log_vars: (..., D).

    Returns:
        (...) between 0 and 1.
    """
    both = torch.logaddexp(log_vars, other_log_vars) - math.log(2)
    apart = (means - other_means).square()
    log_overlap = (0.25 * (log_vars + other_log_vars) - 0.5 * both - apart * (-both).exp() / 8).mean(-1)
    return -log_overlap.expm1()


def diversity_loss(means: Tensor, log_vars: Tensor) -> Tensor:
    """() minus the mean distance of two components of a class; 0 with one component."""
    count = means.shape[1]
    if count < 2:
        return means.new_zeros(())
    pairs = torch.triu_indices(count, count, 1, device=means.device)
    at_once = max(1, MOST_NUMBERS // (pairs.shape[1] * means.shape[2]))

    def of_classes(mean: Tensor, log_var: Tensor) -> Tensor:
        first, second = ((mean[:, members], log_var[:, members]) for members in pairs)
        return hellinger(*first, *second).sum()

    parts = zip(means.split(at_once), log_vars.split(at_once), strict=True)
    # Computed again in the backward pass: of 200 classes with ten components, pairs of one scale take gigabytes.
    total = torch.stack([checkpoint(of_classes, *part, use_reentrant=False) for part in parts]).sum()  # type: ignore[misc]
    loss: Tensor = -total / (len(means) * pairs.shape[1])
    return loss


def cluster_loss(z: Tensor, labels: Tensor, means: Tensor) -> Tensor:
    """() mean distance of each prototype, of classes in the batch, to the nearest latent of its class.

    Args:
        z: (B, D).
        labels: (B,).
        means: (C, K, D).
    """
    there = labels.unique()
    distance = torch.cdist(means[there].flatten(0, 1), z).view(len(there), means.shape[1], -1)  # (c, K, B)
    same = labels == there[:, None]  # (c, B)
    return distance.masked_fill(~same[:, None], torch.inf).amin(2).mean()


def prototype_loss(log_base: Tensor, dims: int) -> Tensor:
    """() bits a dimension of the means under the flow's own base; `log_base` (C, K)."""
    return -log_base.mean() / (math.log(2) * dims)
