"""How far the memory images of explanations agree with decisions, over a set of predictions.

Columns are those of `MemoryWrapClassifier.query_metrics`. Non-representativeness is the mean over queries that have an
example; `_upstream` is the original's number: over all queries, the best-ranked image standing in, as the mean of means
over batches of 256.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lookalike.methods.memory_wrap import RANKINGS
from lookalike.metrics.metric import mean, metric

UPSTREAM_BATCH = 256  # queries whose mean the original's example-quality script takes the mean of


@metric()
def explanation_accuracy(top_predicted: np.ndarray, predicted: np.ndarray) -> float:
    """Share of queries whose heaviest memory image gets the same prediction."""
    return float((top_predicted == predicted).mean())


@metric()
def example_accuracy(top_predicted: np.ndarray, predicted: np.ndarray, correct: np.ndarray) -> float:
    """Share of right predictions among those queries; not a number where there is none."""
    return _share(correct[top_predicted == predicted])


@metric()
def counterfactual_accuracy(top_predicted: np.ndarray, predicted: np.ndarray, correct: np.ndarray) -> float:
    """Share of right predictions among the other queries; not a number where there is none."""
    return _share(correct[top_predicted != predicted])


@metric()
def vote_accuracy(vote_predicted: np.ndarray, label: np.ndarray) -> float:
    """Accuracy of a majority vote of the classes that the used memory images get."""
    return float((vote_predicted == label).mean())


@metric()
def label_vote_accuracy(vote_label: np.ndarray, label: np.ndarray) -> float:
    """Accuracy of a majority vote of the true classes of the used memory images."""
    return float((vote_label == label).mean())


@metric()
def used_images(used: np.ndarray) -> float:
    """Mean number of memory images with a weight."""
    return float(used.mean())


@metric(name="has_example", columns=("has_example",))
def share_with_example(has_example: np.ndarray) -> float:
    """Share of queries with a memory image that gets their class."""
    return float(has_example.mean())


def _over_examples(name: str) -> Callable[[np.ndarray, np.ndarray], float]:
    @metric(name=name, columns=(name, "has_example"))
    def over_examples(values: np.ndarray, has_example: np.ndarray) -> float:
        return mean(values[has_example.astype(bool)]) if has_example.any() else float("nan")

    return over_examples


def _over_batches(name: str) -> Callable[[np.ndarray], float]:
    @metric(name=f"{name}_upstream", columns=(name,))
    def over_batches(values: np.ndarray) -> float:
        import pandas as pd  # where metrics are collected it is loaded anyway

        return float(pd.Series(values).groupby(np.arange(len(values)) // UPSTREAM_BATCH).mean().mean())

    return over_batches


NON_REPRESENTATIVENESS = [
    declare(f"{part}_{ranking}")
    for part in ("input", "prediction")
    for ranking in RANKINGS
    for declare in (_over_examples, _over_batches)
]


def _share(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")
