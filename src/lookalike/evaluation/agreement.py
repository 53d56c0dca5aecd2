"""How far the memory images of explanations agree with decisions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

RANKINGS = ("memory", "knn", "twin", "random")  # of memory images, to choose an example for a query


@dataclass(frozen=True)
class TopItems:
    """Of each query, whether the model is right, and whether the heaviest memory image is of the predicted class.

    Attributes:
        right: (B,) bool.
        agrees: (B,) bool.
    """

    right: np.ndarray
    agrees: np.ndarray

    @property
    def explanation_accuracy(self) -> float:
        """Share of queries whose heaviest memory image gets the same prediction."""
        return float(self.agrees.mean())

    @property
    def example_accuracy(self) -> float:
        """Share of right predictions among those queries; not a number where there is none."""
        return _share(self.right[self.agrees])

    @property
    def counterfactual_accuracy(self) -> float:
        """Share of right predictions among the other queries; not a number where there is none."""
        return _share(self.right[~self.agrees])


def _share(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")
