"""Densities of images as losses."""

from __future__ import annotations

import math

from torch import Tensor


def bits_per_dim(ldj: Tensor, log_prob: Tensor, dims: int) -> Tensor:
    """() mean bits a dimension under the density that gave `log_prob` (B,)."""
    return -(ldj + log_prob).mean() / (math.log(2) * dims)
