"""Metrics of a set of predictions: accuracy, calibration, likelihood."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

BINS = 15
LOG_TEMPERATURES = (-5.0, 10.0)  # a flow's log-densities lie thousands of nats apart
ZERO_PROBABILITY = 1e-12  # a probability of exactly 0 counts as this in the likelihood, as in the NW head's code


def ece(confidence: np.ndarray, correct: np.ndarray, bins: int = BINS) -> float:
    """Expected calibration error with equal-width bins.

    Bins are open below and closed above, on float32 edges: the convention of the NW head's authors.

    Args:
        confidence: (M,) probability of the predicted class.
        correct: (M,) bool.
        bins: number of bins.

    Returns:
        Sum over bins of share times |mean confidence - accuracy|, as a fraction.
    """
    which = bin_of(confidence, bins)
    return _calibration_error(confidence, correct, which, bins)


def bin_edges(bins: int) -> np.ndarray:
    """(bins + 1,) float32 edges, bit for bit those of `torch.linspace(0, 1, bins + 1)`.

    Numpy's float64 grid rounded to float32 differs at some edges, and vote shares lie exactly on edges.
    """
    step = np.float64(np.float32(1) / np.float32(bins))
    steps = np.arange(bins + 1)
    return np.where(steps < (bins + 1) // 2, step * steps, 1 - step * (bins - steps)).astype(np.float32)


def bin_of(confidence: np.ndarray, bins: int = BINS) -> np.ndarray:
    """(M,) bin of each confidence, 0 to bins - 1; a confidence of 0 lies in no bin and gives -1."""
    found: np.ndarray = np.searchsorted(bin_edges(bins), confidence.astype(np.float32), side="left") - 1
    return found


def adaptive_ece(confidence: np.ndarray, correct: np.ndarray, bins: int = BINS) -> float:
    """Calibration error with bins of equal numbers of predictions (Nixon et al., 2019)."""
    order = np.argsort(confidence, kind="stable")
    which = np.empty(len(order), np.int64)
    which[order] = np.arange(len(order)) * bins // len(order)
    return _calibration_error(confidence, correct, which, bins)


def _calibration_error(confidence: np.ndarray, correct: np.ndarray, which: np.ndarray, bins: int) -> float:
    kept = which >= 0
    gap = np.bincount(which[kept], (confidence.astype(np.float64) - correct)[kept], minlength=bins)
    return float(np.abs(gap).sum() / len(confidence))


def fit_temperature(log_probs: np.ndarray, labels: np.ndarray) -> float:
    """The number by which log-probabilities are to be divided so that the truth is most likely.

    Guo et al., ICML 2017 (arXiv 1706.04599), section 4.2.

    Args:
        log_probs: (M, C).
        labels: (M,).
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    known = np.where(np.isneginf(log_probs), np.log(ZERO_PROBABILITY), log_probs.astype(np.float64))
    every = np.arange(len(labels))

    def nll(log_temperature: float) -> float:
        return float(-log_softmax(known / np.exp(log_temperature), axis=1)[every, labels].mean())

    return float(np.exp(minimize_scalar(nll, bounds=LOG_TEMPERATURES, method="bounded").x))


def auroc(inside: np.ndarray, outside: np.ndarray) -> float:
    """Probability that an image of a known class has a higher score than an outlier; ties count half.

    Args:
        inside: (M,) scores of images of known classes.
        outside: (N,) of outliers.
    """
    from scipy.stats import rankdata

    ranks = rankdata(np.concatenate([inside, outside]))[: len(inside)].sum()
    return float((ranks - len(inside) * (len(inside) + 1) / 2) / (len(inside) * len(outside)))


def fpr95(inside: np.ndarray, outside: np.ndarray) -> float:
    """Share of outliers that pass where 95 % of the images of known classes do (Hendrycks and Gimpel, ICLR 2017)."""
    return float((outside >= np.quantile(inside, 0.05, method="lower")).mean())


def real_correct(predicted: np.ndarray, answers: Sequence[Sequence[int]]) -> list[bool | None]:
    """Whether each prediction is among the ReaL labels of its image; None for an image that has none.

    Args:
        predicted: (M,) classes.
        answers: M lists of classes that are right (Beyer et al., arXiv 2006.07159).
    """
    return [
        int(label) in set(map(int, right)) if len(right) else None
        for label, right in zip(predicted, answers, strict=True)
    ]


def real_accuracy(correct: Sequence[bool | None], upstream: bool = False) -> float:
    """ReaL accuracy: images without a ReaL label are left out of numerator and denominator.

    Args:
        correct: of `real_correct`.
        upstream: count images without a label as wrong, as the original scripts of kNN and EMD-Corr do (defect B2).
    """
    hits, known = sum(value is True for value in correct), sum(value is not None for value in correct)
    total = len(correct) if upstream else known
    return hits / total if total else float("nan")


def summarise(
    confidence: np.ndarray, correct: np.ndarray, log_prob: np.ndarray, rank: np.ndarray, brier: np.ndarray
) -> dict[str, float]:
    """All metrics of one set of predictions.

    Args:
        confidence: (M,) probability of the predicted class.
        correct: (M,) bool.
        log_prob: (M,) log-probability of the true class, nats.
        rank: (M,) classes that are more probable than the true one.
        brier: (M,) squared distance of the probabilities from the one-hot truth.
    """
    return {
        "accuracy": float(correct.mean()),
        "top5": float((rank < 5).mean()),
        "ece": ece(confidence, correct),
        "adaptive_ece": adaptive_ece(confidence, correct),
        "nll": float(-np.where(np.isinf(log_prob), np.log(ZERO_PROBABILITY), log_prob).mean()),
        "brier": float(brier.mean()),
        "n": len(correct),
    }
