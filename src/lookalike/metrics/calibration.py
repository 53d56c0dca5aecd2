"""Whether confidence is right: calibration errors, likelihood, and the temperature that mends them."""

from __future__ import annotations

import numpy as np

from lookalike.metrics.metric import ZERO_PROBABILITY, metric

BINS = 15


@metric("ECE (%)", "accuracy calibration", 100, 2, (0, 1))
def ece(confidence: np.ndarray, correct: np.ndarray, bins: int = BINS) -> float:
    """Expected calibration error with equal-width bins: sum over bins of share times |mean confidence - accuracy|.

    Bins are open below and closed above, on float32 edges: the convention of the NW head's authors.

    Args:
        confidence: (M,) probability of the predicted class, 0 to 1.
        correct: (M,) bool, whether each prediction is right.
        bins: Number of bins.

    Returns:
        The error as a fraction.

    Example:
        >>> import numpy as np
        >>> from lookalike.metrics import ece
        >>> round(ece(np.array([0.9, 0.8, 0.6]), np.array([True, True, False])), 4)
        0.3
    """
    return _calibration_error(confidence, correct, bin_of(confidence, bins), bins)


@metric("ECE, tempered (%)", "calibration", 100, 2, (0, 1), columns=("tempered_confidence", "correct"))
def ece_tempered(tempered_confidence: np.ndarray, correct: np.ndarray) -> float:
    """Calibration error of confidences whose log-probabilities were divided by a fitted temperature."""
    return ece(tempered_confidence, correct)


@metric("Adaptive ECE (%)", "calibration", 100, 2, (0, 1))
def adaptive_ece(confidence: np.ndarray, correct: np.ndarray, bins: int = BINS) -> float:
    """Calibration error with bins of equal numbers of predictions (Nixon et al., 2019).

    Args:
        confidence: (M,) probability of the predicted class, 0 to 1.
        correct: (M,) bool, whether each prediction is right.
        bins: Number of bins.

    Returns:
        The error as a fraction.

    Example:
        >>> import numpy as np
        >>> from lookalike.metrics import adaptive_ece
        >>> round(adaptive_ece(np.array([0.9, 0.8, 0.6, 0.5]), np.array([True, True, False, True]), bins=2), 4)
        0.1
    """
    order = np.argsort(confidence, kind="stable")
    which = np.empty(len(order), np.int64)
    which[order] = np.arange(len(order)) * bins // len(order)
    return _calibration_error(confidence, correct, which, bins)


@metric("NLL (nats)", "calibration", 1, 4, (0, np.inf), columns=("log_prob",))
def nll(log_prob: np.ndarray) -> float:
    """Mean negative log-likelihood of the true class, in nats.

    Args:
        log_prob: (M,) log-probability of the true class, nats; minus infinity counts as the logarithm of 1e-12.

    Example:
        >>> import numpy as np
        >>> from lookalike.metrics import nll
        >>> round(nll(np.log([0.5, 0.25])), 4)
        1.0397
    """
    return float(-np.where(np.isinf(log_prob), np.log(ZERO_PROBABILITY), log_prob).mean())


@metric("Brier score", "calibration", 1, 4, (0, 2), columns=("brier",))
def brier(squared_distances: np.ndarray) -> float:
    """Mean squared distance of the probabilities from the one-hot truth, 0 to 2.

    Args:
        squared_distances: (M,) sum over classes of (probability - truth)^2.

    Example:
        >>> import numpy as np
        >>> from lookalike.metrics import brier
        >>> probabilities, truth = np.array([[0.8, 0.2], [0.4, 0.6]]), np.array([[1, 0], [1, 0]])
        >>> round(brier(((probabilities - truth) ** 2).sum(1)), 2)
        0.4
    """
    return float(squared_distances.mean())


def bin_edges(bins: int) -> np.ndarray:
    """(bins + 1,) float32 edges, bit for bit those of `torch.linspace(0, 1, bins + 1)`.

    Numpy's float64 grid rounded to float32 differs at some edges, and vote shares lie exactly on edges.
    """
    step = np.float64(np.float32(1) / np.float32(bins))
    steps = np.arange(bins + 1)
    return np.where(steps < (bins + 1) // 2, step * steps, 1 - step * (bins - steps)).astype(np.float32)


def bin_of(confidence: np.ndarray, bins: int = BINS) -> np.ndarray:
    """(M,) bin of each confidence, 0 to bins - 1; a confidence of 0 lies in no bin and gives -1."""
    which: np.ndarray = np.searchsorted(bin_edges(bins), confidence.astype(np.float32), side="left") - 1
    return which


def _calibration_error(confidence: np.ndarray, correct: np.ndarray, which: np.ndarray, bins: int) -> float:
    binned = which >= 0
    gap = np.bincount(which[binned], (confidence.astype(np.float64) - correct)[binned], minlength=bins)
    return float(np.abs(gap).sum() / len(confidence))
