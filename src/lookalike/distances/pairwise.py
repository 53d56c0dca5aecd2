"""Distances between the rows of two sets, by matrix products: no tensor of rows x rows x features.

One vocabulary for all rooms: `cosine` is 1 - cosine, `l2` the squared Euclidean distance (as faiss means it), `dot`
minus the inner product; `negative_distance` is minus the Euclidean distance, exactly 0 between equal rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

NORM_FLOOR = 1e-12  # the originals' floor: a zero vector stays a zero vector
COSINE_FLOOR = 1e-6  # inside the root of cosine's norms: a zero vector stays zero

# |q - s|^2 = |q|^2 + |s|^2 - 2 q.s loses all digits where q and s nearly agree. Pairs whose squared
# distance is below this share of |q|^2 + |s|^2 are computed from the difference itself.
NEAR = 1e-3
PAIRS_PER_CHUNK = 4096


def cosine_distance(queries: Tensor, memory: Tensor) -> Tensor:
    """1 - cosine (B, M) of rows (B, D) and (M, D)."""
    queries, memory = _squarable(queries), _squarable(memory)
    lengths = [(_squares(rows) + COSINE_FLOOR).rsqrt() for rows in (queries, memory)]
    return 1 - (queries @ memory.T) * lengths[0][:, None] * lengths[1]


def paired_cosine_distance(queries: Tensor, others: Tensor) -> Tensor:
    """1 - cosine (B,) of each row with its partner, both (B, D)."""
    queries, others = _squarable(queries), _squarable(others)
    lengths = (_squares(queries) + COSINE_FLOOR).rsqrt() * (_squares(others) + COSINE_FLOOR).rsqrt()
    return 1 - torch.einsum("nd,nd->n", queries, others) * lengths


def l2_distance(queries: Tensor, memory: Tensor) -> Tensor:
    """Squared Euclidean distance (B, M)."""
    squares = _squares(queries)[:, None] + _squares(memory)
    return torch.addmm(squares, queries, memory.T, alpha=-2).clamp(min=0)


def dot_distance(queries: Tensor, memory: Tensor) -> Tensor:
    """Minus the inner product (B, M)."""
    return -(queries @ memory.T)


def _squarable(rows: Tensor) -> Tensor:
    """Rows of the same directions whose squares do not overflow: of those that do, multiples of length about 1."""
    if rows.device.type != "cpu":  # where the question would wait for the device
        return rows
    squares = _squares(rows.detach())
    if not bool(torch.isinf(squares).any()):
        return rows
    largest = rows.detach().abs().amax(1, keepdim=True)
    return torch.where(torch.isinf(squares)[:, None], rows / largest, rows)


def _squares(rows: Tensor) -> Tensor:
    """Squared lengths (N,) of rows (N, D), with no copy of the rows: of a large memory that would be the most."""
    return torch.einsum("nd,nd->n", rows, rows)


DISTANCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cosine": cosine_distance,
    "l2": l2_distance,
    "dot": dot_distance,
}


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


def normalise_rows(rows: Tensor) -> Tensor:
    """(N, D) rows of unit length; a zero row stays zero."""
    norms = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    if norms.device.type == "cpu" and bool(torch.isinf(norms).any()):  # their squares overflow
        rows = torch.where(torch.isinf(norms), rows / rows.abs().amax(1, keepdim=True), rows)
        norms = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    return rows / norms.clamp_min(NORM_FLOOR)
