"""Metrics of how exactly a flow gives images back."""

from __future__ import annotations

import numpy as np

from lookalike.metrics.metric import metric


@metric(columns=("reconstruction_error",))
def reconstruction_error(errors: np.ndarray) -> float:
    """Largest difference of a pixel, 0 to 1, after the way there and back.

    Args:
        errors: (M,) largest difference of each image.
    """
    return float(errors.max())


@metric(columns=("changed_pixels",))
def changed_pixels(counts: np.ndarray) -> float:
    """Pixels of the whole set that differ once rounded.

    Args:
        counts: (M,) pixels of each image.
    """
    return int(counts.sum())
