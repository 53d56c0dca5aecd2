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
        support_labels: (N,) or (B, N) classes of the support.
        query_labels: (B,) true classes; predicted ones where the truth is unknown.
        probabilities: (B,) probability of `query_labels`; summed from the weights when left out.

    Returns:
        (B, N) influences, nats; +inf for the only row of the query's class. Where that class has no weight at all, the
        limit log(1 - w) (the original gives NaN).

    Example:
        >>> import torch
        >>> from lookalike.explain import support_influence
        >>> weights = torch.tensor([[0.6, 0.3, 0.1]])
        >>> influence = support_influence(weights, torch.tensor([0, 0, 1]), torch.tensor([0]))
        >>> [round(value, 2) for value in influence[0].tolist()]
        [0.18, 0.05, -0.11]
    """
    same = support_labels == query_labels[:, None]  # (B, N)
    of_class = torch.where(same, weights, 0)
    if probabilities is None:
        probabilities = of_class.sum(1)
    share = torch.where(probabilities[:, None] > 0, of_class / probabilities[:, None], 0).clamp(max=1)
    share[same & (same.sum(1, keepdim=True) == 1) & (weights > 0)] = 1
    influence = torch.log1p(-weights) - torch.log1p(-share)
    return torch.where(share == 1, torch.inf, influence)
