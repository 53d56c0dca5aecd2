"""How often predictions are right."""

from __future__ import annotations

import numpy as np

from lookalike.metrics.metric import metric


@metric("Accuracy (%)", "accuracy", 100, 2, (0, 1))
def accuracy(correct: np.ndarray) -> float:
    """Share of right predictions.

    Args:
        correct: (M,) bool, whether each prediction is right.
    """
    return float(correct.mean())


@metric("Top-5 (%)", "accuracy", 100, 2, (0, 1), columns=("rank",))
def top5(rank: np.ndarray) -> float:
    """Share of queries whose true class is among the five most probable ones.

    Args:
        rank: (M,) number of classes that are more probable than the true one.
    """
    return float((rank < 5).mean())


@metric(columns=("label",))
def n(labels: np.ndarray) -> float:
    """Number of queries.

    Args:
        labels: (M,) classes.
    """
    return len(labels)
