"""The temperature of a softmax that fits its probabilities to the truth."""

from __future__ import annotations

import numpy as np

from lookalike.metrics.metric import ZERO_PROBABILITY

LOG_TEMPERATURES = (-5.0, 10.0)  # a flow's log-densities lie thousands of nats apart


def temperature(log_probs: np.ndarray, labels: np.ndarray) -> float:
    """The number by which log-probabilities are to be divided so that the truth is most likely.

    Guo et al., ICML 2017 (arXiv 1706.04599), section 4.2. Needs scipy.

    Args:
        log_probs: (M, C) log-probabilities, nats.
        labels: (M,) true classes.

    Returns:
        The temperature; NaN where a log-probability is NaN or there is none.

    Example:
        >>> import numpy as np
        >>> from lookalike.metrics import temperature
        >>> log_probs = np.log([[0.99, 0.01], [0.99, 0.01], [0.99, 0.01], [0.99, 0.01]])
        >>> temperature(log_probs, np.array([0, 0, 0, 1])) > 1  # too sure: three of four are right
        True
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    if not len(labels) or np.isnan(log_probs).any():
        return float("nan")
    finite = np.where(np.isneginf(log_probs), np.log(ZERO_PROBABILITY), log_probs.astype(np.float64))
    every = np.arange(len(labels))

    def mean_nll(log_temperature: float) -> float:
        return float(-log_softmax(finite / np.exp(log_temperature), axis=1)[every, labels].mean())

    return float(np.exp(minimize_scalar(mean_nll, bounds=LOG_TEMPERATURES, method="bounded").x))
