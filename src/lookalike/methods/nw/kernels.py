"""Kernels of the Nadaraya-Watson head: scores of every support row for every query.

Wang and Sabuncu, "A Flexible Nadaraya-Watson Head Can Offer Explainable and Calibrated
Classification", TMLR 2023. Scores are laid out as (N, B), support rows first: sums by class then run
along the first dimension, where they cost next to nothing beside the matrix product.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Kernel = Literal["euclidean", "hypersphere_euclidean", "cosine", "dotproduct", "clip"]
KERNELS: tuple[Kernel, ...] = ("euclidean", "hypersphere_euclidean", "cosine", "dotproduct", "clip")
NORM_FLOOR = 1e-12  # the originals' floor: a zero vector stays a zero vector

# |q - s|^2 = |q|^2 + |s|^2 - 2 q.s loses all digits where q and s nearly agree. Pairs whose squared
# distance is below this share of |q|^2 + |s|^2 are computed from the difference itself.
NEAR = 1e-3
PAIRS_PER_CHUNK = 4096


def _near_pairs(squared: Tensor, query_sq: Tensor, support_sq: Tensor) -> tuple[Tensor, Tensor] | None:
    """Row and column numbers of the near pairs in (N, B), or None; costs one reduction when there is none."""
    if squared.numel() == 0:
        return None
    bound = NEAR * (query_sq + support_sq.max())  # (B,)
    if not bool((squared.amin(0) <= bound).any()):
        return None
    near = squared <= NEAR * (query_sq + support_sq[:, None])
    rows, columns = near.nonzero(as_tuple=True)
    return (rows, columns) if rows.numel() else None


class _NegativeDistance(torch.autograd.Function):
    """Negative Euclidean distances (N, B) with exact zeros, and a backward pass of two products."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, support: Tensor, support_sq: Tensor | None) -> Tensor:  # type: ignore[override]
        if support_sq is None:
            support_sq = squared_norms(support)
        query_sq = squared_norms(query)
        squared = torch.addmm(support_sq[:, None], support, query.T, alpha=-2).add_(query_sq)
        near = _near_pairs(squared, query_sq, support_sq)
        if near is not None and near[0].numel() > max(squared.numel() // 16, 64):
            # Many near pairs mean a mean that dwarfs the spread; distances do not change when it goes.
            centre = support.mean(0)
            query, support = query - centre, support - centre
            query_sq, support_sq = squared_norms(query), squared_norms(support)
            squared = torch.addmm(support_sq[:, None], support, query.T, alpha=-2).add_(query_sq)
            near = _near_pairs(squared, query_sq, support_sq)
        scores = squared.clamp_(min=0).sqrt_().neg_()
        if near is not None:
            for rows, columns in _chunks(near):
                difference = query[columns] - support[rows]
                scores[rows, columns] = -torch.linalg.vector_norm(difference, dim=1)
        ctx.near = near
        ctx.save_for_backward(query, support, scores)
        return scores

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:  # type: ignore[override]
        query, support, scores = ctx.saved_tensors
        weight = grad / scores  # (N, B) dL/d(distance) / distance
        near_weights: list[Tensor] = []
        if ctx.near is not None:
            weight.masked_fill_(scores == 0, 0)  # the derivative at distance 0, always a near pair, is 0
            near_weights = [weight[pairs] for pairs in _chunks(ctx.near)]
            weight[ctx.near] = 0
        by_query, by_row = weight.sum(0)[:, None], weight.sum(1)[:, None]
        weight.neg_()
        grad_query = grad_support = None
        if ctx.needs_input_grad[0]:
            grad_query = (weight.T @ support).addcmul_(by_query, query)
        if ctx.needs_input_grad[1]:
            grad_support = (weight @ query).addcmul_(by_row, support)
        if ctx.near is not None:
            for (rows, columns), pair_weight in zip(_chunks(ctx.near), near_weights, strict=True):
                pull = pair_weight[:, None] * (query[columns] - support[rows])
                if grad_query is not None:
                    grad_query.index_add_(0, columns, pull)
                if grad_support is not None:
                    grad_support.index_add_(0, rows, pull, alpha=-1)
        return grad_query, grad_support, None


def _chunks(pairs: tuple[Tensor, Tensor]) -> list[tuple[Tensor, Tensor]]:
    """The pair list in pieces: collapsed classes can make it long, and each pair costs D numbers."""
    return list(zip(pairs[0].split(PAIRS_PER_CHUNK), pairs[1].split(PAIRS_PER_CHUNK), strict=True))


def squared_norms(rows: Tensor) -> Tensor:
    """(N,) squared norms of (N, D), without a temporary of their size."""
    return torch.linalg.vector_norm(rows, dim=1).square_()


def negative_distance(query: Tensor, support: Tensor, support_sq: Tensor | None = None) -> Tensor:
    """Negative distances of every support row to every query: exact for near pairs, gradient 0 at 0.

    Args:
        query: (B, D).
        support: (N, D).
        support_sq: (N,) squared norms of the support rows, where they are already known.

    Returns:
        (N, B) negative distances.
    """
    scores: Tensor = _NegativeDistance.apply(query, support, support_sq)
    return scores


def _inverse_norm(rows: Tensor) -> Tensor:
    return torch.linalg.vector_norm(rows, dim=-1).clamp_min(NORM_FLOOR).reciprocal()


def kernel_scores(
    kernel: Kernel,
    query: Tensor,
    support: Tensor,
    logit_scale: Tensor | None = None,
    support_sq: Tensor | None = None,
) -> Tensor:
    """Scores of the support rows, larger = more similar (spec: the table of five kernels).

    Args:
        kernel: one of `KERNELS`.
        query: (B, D).
        support: (N, D) shared by all queries, or (B, N, D) with one support a query.
        logit_scale: () logarithm of the factor of the `clip` kernel.
        support_sq: (N,) squared norms of a shared support, used by `euclidean`.

    Returns:
        (N, B) scores.
    """
    if support.ndim == 3:
        return _own_support_scores(kernel, query, support, logit_scale)
    if kernel == "euclidean":
        return negative_distance(query, support, support_sq)
    if kernel == "hypersphere_euclidean":
        return negative_distance(
            F.normalize(query, dim=-1, eps=NORM_FLOOR), F.normalize(support, dim=-1, eps=NORM_FLOOR)
        )
    product = support @ query.T
    if kernel == "dotproduct":
        return product
    # Scaling the product by the norms needs no normalised copy of the support.
    cosine = product * _inverse_norm(support)[:, None] * _inverse_norm(query)
    return cosine if kernel == "cosine" else cosine * _scale(logit_scale)


def _own_support_scores(kernel: Kernel, query: Tensor, support: Tensor, logit_scale: Tensor | None) -> Tensor:
    """(N, B) scores where each query brings its own (N, D) support."""
    if kernel in ("hypersphere_euclidean", "cosine", "clip"):
        query = F.normalize(query, dim=-1, eps=NORM_FLOOR)
        support = F.normalize(support, dim=-1, eps=NORM_FLOOR)
    if kernel in ("euclidean", "hypersphere_euclidean"):
        # The support itself is (B, N, D), so the plain difference adds no new order of memory.
        return torch.linalg.vector_norm(support - query[:, None], dim=-1).neg().T
    product = torch.bmm(support, query[:, :, None]).squeeze(-1).T
    return product * _scale(logit_scale) if kernel == "clip" else product


def _scale(logit_scale: Tensor | None) -> Tensor:
    if logit_scale is None:
        raise ValueError("the clip kernel needs its logit_scale")
    return logit_scale.exp()
