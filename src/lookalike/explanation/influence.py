"""Support influence: how much the loss of a query changes when one support row is taken away."""

from __future__ import annotations

import torch
from torch import Tensor


def support_influence(
    weights: Tensor, support_labels: Tensor, query_labels: Tensor, probabilities: Tensor | None = None
) -> Tensor:
    """Leave-one-out influence of every support row on every query (Wang and Sabuncu, TMLR 2023).

    I_i = log(p (1 - w_i) / (p - w_i [y_i = y])): the loss with row i deleted and the other weights
    renormalised, minus the loss with it. Positive rows help, negative rows harm. Written as
    log1p(-w) - log1p(-w [y_i = y] / p), which keeps its digits for small weights.

    Args:
        weights: (B, N) softmax weights.
        support_labels: (N,) or (B, N).
        query_labels: (B,) true classes; predicted ones where the truth is unknown.
        probabilities: (B,) probability of `query_labels`; summed from the weights when left out.

    Returns:
        (B, N); +inf for the only row of the query's class. Where that class has no weight at all, the
        limit log(1 - w) (the original gives NaN).
    """
    same = support_labels == query_labels[:, None]  # (B, N)
    own = torch.where(same, weights, 0)
    if probabilities is None:
        probabilities = own.sum(1)
    share = torch.where(probabilities[:, None] > 0, own / probabilities[:, None], 0).clamp(max=1)
    share[same & (same.sum(1, keepdim=True) == 1) & (weights > 0)] = 1
    influence = torch.log1p(-weights) - torch.log1p(-share)
    return torch.where(share == 1, torch.inf, influence)
