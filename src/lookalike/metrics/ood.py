"""How well a score tells images of no known class from those of known ones."""

from __future__ import annotations

import numpy as np

# Column of predictions -> its sign, so that higher means more like the training images; methods may add others.
OOD_SCORES = {"confidence": 1, "entropy": -1}


def auroc(inside: np.ndarray, outside: np.ndarray) -> float:
    """Probability that an image of a known class has a higher score than one of none; ties count half.

    Args:
        inside: (M,) scores of images of known classes.
        outside: (N,) scores of out-of-distribution images.

    Returns:
        The probability; NaN where a score is NaN.

    Example:
        >>> import numpy as np
        >>> from lookalike.metrics import auroc
        >>> auroc(np.array([3.0, 2.0, 1.0]), np.array([2.0, 0.0]))
        0.75
    """
    scores = np.concatenate([inside, outside])
    if np.isnan(scores).any():
        return float("nan")
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (counts.cumsum() - (counts - 1) / 2)[place][: len(inside)].sum()  # the mean rank of equal scores
    return float((ranks - len(inside) * (len(inside) + 1) / 2) / (len(inside) * len(outside)))


def fpr95(inside: np.ndarray, outside: np.ndarray) -> float:
    """Share of out-of-distribution images that pass where 95 % of the images of known classes do.

    Hendrycks and Gimpel, ICLR 2017.

    Args:
        inside: (M,) scores of images of known classes.
        outside: (N,) scores of out-of-distribution images.

    Returns:
        The share; NaN where a score is NaN.

    Example:
        >>> import numpy as np
        >>> from lookalike.metrics import fpr95
        >>> fpr95(np.arange(100), np.array([-1, 4, 5, 50]))
        0.75
    """
    if np.isnan(inside).any() or np.isnan(outside).any():
        return float("nan")
    return float((outside >= np.quantile(inside, 0.05, method="lower")).mean())
