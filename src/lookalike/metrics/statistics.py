"""Statistics over seeds, and paired comparisons on the same queries."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

LEVEL = 0.95


@dataclass(frozen=True)
class Summary:
    """Mean over seeds.

    Attributes:
        mean: Mean of the values.
        std: Sample standard deviation; nan for one value.
        low, high: 95 % interval of the mean by Student's t; nan for one value.
        n: Number of values.
    """

    mean: float
    std: float
    low: float
    high: float
    n: int


def summarise_seeds(values: np.ndarray) -> Summary:
    """Mean, standard deviation (n - 1) and 95 % t interval of one value a seed.

    Args:
        values: (n,); a seed that has none, nan, is left out.
    """
    values = np.asarray(values, np.float64)
    values = values[~np.isnan(values)]
    if not len(values):
        unknown = float("nan")
        return Summary(unknown, unknown, unknown, unknown, 0)
    n, mean = len(values), float(values.mean())
    if n == 1:
        return Summary(mean, float("nan"), float("nan"), float("nan"), 1)
    std = float(values.std(ddof=1))
    half = float(stats.t.ppf((1 + LEVEL) / 2, n - 1)) * std / np.sqrt(n)
    return Summary(mean, std, mean - half, mean + half, n)


@dataclass(frozen=True)
class Comparison:
    """Two classifiers on the same queries, seed by seed.

    Attributes:
        difference: Accuracy of the first minus the second, over seeds.
        only_first, only_second: Queries that only one of them gets right, mean over seeds.
        p_value: Largest over seeds of the exact two-sided McNemar p: what every single seed supports.
    """

    difference: Summary
    only_first: float
    only_second: float
    p_value: float


def compare_paired(first: list[np.ndarray], second: list[np.ndarray]) -> Comparison:
    """Compare hits of two classifiers.

    Args:
        first: One bool array a seed, (M,) or (K, M) for K draws of a random support.
        second: The same queries in the same order, the same seeds; of several draws the first is compared with.

    Raises:
        ValueError: Seeds or queries differ.
    """
    if len(first) != len(second) or any(a.shape[-1] != b.shape[-1] for a, b in zip(first, second, strict=False)):
        raise ValueError("both classifiers need the same seeds and queries")
    pairs = [(np.atleast_2d(a), np.atleast_2d(b)[:1]) for a, b in zip(first, second, strict=True)]
    counts = [((a & ~b).sum(1), (b & ~a).sum(1)) for a, b in pairs]  # (K,) each
    only_first, only_second = (np.array([count[side].mean() for count in counts]) for side in (0, 1))
    differences = np.array([a.mean() - b.mean() for a, b in pairs])
    p_values = [
        stats.binomtest(int(a), int(a + b)).pvalue if a + b else 1.0
        for ours, theirs in counts
        for a, b in zip(ours, theirs, strict=True)
    ]
    return Comparison(
        summarise_seeds(differences), float(only_first.mean()), float(only_second.mean()), float(max(p_values))
    )
