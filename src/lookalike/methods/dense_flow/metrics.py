"""Metrics of densities of images."""

from __future__ import annotations

import numpy as np

from lookalike.metrics.metric import mean, metric


@metric("Bits/dim", "calibration", 1, 3, columns=("bits_per_dim",))
def bits_per_dim(bits: np.ndarray) -> float:
    """Mean bits a dimension: a bound on the density of images.

    Args:
        bits: (M,) bits a dimension of each image.
    """
    return mean(bits)
