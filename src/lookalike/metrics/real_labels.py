"""Accuracy by ReaL labels: several right classes for an image of ImageNet, or none (Beyer et al., arXiv 2006.07159)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lookalike.metrics.metric import metric


def real_correct(predicted: np.ndarray, answers: Sequence[Sequence[int]] | np.ndarray) -> list[bool | None]:
    """Whether each prediction is among the ReaL labels of its image; None for an image that has none.

    Args:
        predicted: (M,) classes.
        answers: Lists of right classes, one of each of M images (Beyer et al., arXiv 2006.07159).
    """
    return [
        int(label) in set(map(int, right)) if len(right) else None
        for label, right in zip(predicted, answers, strict=True)
    ]


@metric("ReaL accuracy (%)", "accuracy", 100, 2, (0, 1), columns=("real_correct",))
def real_accuracy(correct: Sequence[bool | None]) -> float:
    """ReaL accuracy: images without a ReaL label are left out of numerator and denominator.

    Args:
        correct: Result of `real_correct`.
    """
    hits, labelled = sum(value is True for value in correct), sum(value is not None for value in correct)
    return hits / labelled if labelled else float("nan")


@metric(columns=("real_correct",))
def real_accuracy_upstream(correct: Sequence[bool | None]) -> float:
    """ReaL accuracy as the original scripts of kNN and EMD-Corr count: images without a label are wrong.

    docs/algorithms/metrics.md, section 2, has both counts.

    Args:
        correct: Result of `real_correct`.
    """
    return sum(value is True for value in correct) / len(correct) if len(correct) else float("nan")
