"""Kernels of the Nadaraya-Watson head: scores of every support row for every query.

Wang and Sabuncu, "A Flexible Nadaraya-Watson Head Can Offer Explainable and Calibrated
Classification", TMLR 2023. Scores are laid out as (N, B), support rows first: sums by class then run
along the first dimension, where they cost next to nothing beside the matrix product.
"""

from __future__ import annotations

from typing import get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from lookalike.distances.pairwise import NORM_FLOOR, negative_distance
from lookalike.methods.nw import Kernel

KERNELS: tuple[Kernel, ...] = get_args(Kernel)


def _inverse_norm(rows: Tensor) -> Tensor:
    return torch.linalg.vector_norm(rows, dim=-1).clamp_min(NORM_FLOOR).reciprocal()


def kernel_scores(
    kernel: Kernel,
    query: Tensor,
    support: Tensor,
    logit_scale: Tensor | None = None,
    support_sq: Tensor | None = None,
) -> Tensor:
    """Scores of the support rows, larger = more similar (docs/algorithms/nw_head.md, section 3).

    Args:
        kernel: One of `KERNELS`.
        query: (B, D) features.
        support: (N, D) features shared by all queries, or (B, N, D) with one support a query.
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
    if kernel == "dot":
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
