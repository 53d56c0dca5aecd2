"""Sparsemax (Martins and Astudillo, ICML 2016): the Euclidean projection onto the simplex."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _Sparsemax(torch.autograd.Function):
    """Along the last axis; the gradient on the support is the cotangent less its mean there, and 0 elsewhere."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor) -> Tensor:
        ordered = scores.sort(dim=-1, descending=True).values
        # The threshold is found on scores less their largest, which keeps the sums small and changes nothing.
        largest = ordered[..., :1]
        sums = (ordered - largest).cumsum(-1)
        ranks = torch.arange(1, scores.shape[-1] + 1, device=scores.device, dtype=scores.dtype)
        in_support = 1 + ranks * (ordered - largest) > sums
        size = in_support.sum(-1, keepdim=True)
        threshold = (sums.gather(-1, size - 1) - 1) / size
        weights = (scores - largest - threshold).clamp(min=0)
        ctx.save_for_backward(weights)
        return weights

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> Tensor:
        (weights,) = ctx.saved_tensors
        support = weights > 0
        kept = cotangents[0] * support
        mean = kept.sum(-1, keepdim=True) / support.sum(-1, keepdim=True)
        return (kept - mean) * support


def sparsemax(scores: Tensor, dim: int = -1) -> Tensor:
    """Weights that are not negative, sum to 1 along `dim`, and are exactly 0 where a score is far below the largest.

    Args:
        scores: Any shape, finite, at least one entry along `dim`; computed in float32 or wider.
        dim: The axis of the items.
    """
    wide = scores.float() if scores.dtype in (torch.float16, torch.bfloat16) else scores
    weights: Tensor = _Sparsemax.apply(wide.movedim(dim, -1))
    return weights.movedim(-1, dim)
