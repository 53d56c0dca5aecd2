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
    log1p(-w) - log1p(-w [y_i = y] / p), which keeps its digits for small weights. Of a row that has more than half of
    the weight, or of its class, `1 - w` keeps none: there the others are summed by themselves.

    Args:
        weights: (B, N) softmax weights.
        support_labels: (N,) or (B, N) classes of the support.
        query_labels: (B,) true classes; predicted ones where the truth is unknown.
        probabilities: (B,) probability of `query_labels`; summed from the weights when left out.

    Returns:
        (B, N) influences, nats, in float32 for half-precision weights; +inf for the only row of the query's class that
        has a weight. Where that class has no weight at all, the limit log(1 - w) (the original gives NaN).

    Example:
        >>> import torch
        >>> from lookalike.explain import support_influence
        >>> weights = torch.tensor([[0.6, 0.3, 0.1]])
        >>> influence = support_influence(weights, torch.tensor([0, 0, 1]), torch.tensor([0]))
        >>> [round(value, 2) for value in influence[0].tolist()]
        [0.18, 0.05, -0.11]
    """
    weights = weights.to(torch.promote_types(weights.dtype, torch.float32))
    same = support_labels == query_labels[:, None]  # (B, N)
    of_class = torch.where(same, weights, 0)
    if probabilities is None:
        probabilities = of_class.sum(1)
    share = torch.where(probabilities[:, None] > 0, of_class / probabilities[:, None], 0).clamp(max=1)
    without = _log_without(weights, weights, torch.ones_like(probabilities))
    influence = without - _log_without(share, of_class, probabilities)
    # A row that has all weight there is: what the others would share is known where they are of one class.
    alone = torch.where(same.all(1, keepdim=True), 0.0, torch.inf).to(influence)
    return torch.where(influence.isnan(), alone, influence)


def _log_without(shares: Tensor, weights: Tensor, total: Tensor) -> Tensor:
    """log(1 - share) (B, N): where a share is more than a half, the logarithm of what the other weights sum to.

    Args:
        shares: (B, N) weights as shares of the total.
        weights: (B, N) weights that the total is the sum of.
        total: (B,).
    """
    logs = torch.log1p(-shares)
    largest, row = shares.max(1, keepdim=True)  # no other can be more than a half
    others = weights.scatter(1, row, 0).sum(1, keepdim=True, dtype=torch.float64)
    exact = (others / total[:, None]).log().to(logs)
    return logs.scatter(1, row, torch.where(largest > 0.5, exact, logs.gather(1, row)))
