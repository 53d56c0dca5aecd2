"""k-means centroids of each class, and the real images nearest to them."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from torch import Tensor

from lookalike.core.finite import check_finite


def class_centroids(
    features: Tensor, labels: Tensor, k: int, seed: int = 0, restarts: int = 10
) -> tuple[Tensor, Tensor]:
    """K centroids of each class, classes ascending; k = 1 is the class mean.

    A class with fewer rows than k gives all its rows.

    Args:
        features: (N, D).
        labels: (N,).
        k: Centroids a class.
        seed: Seed of the k-means++ starts.
        restarts: The best of so many starts counts. The original's result depends on the version of
            scikit-learn: 10 starts before 1.4, 1 since.

    Returns:
        Centroids (M, D) and their labels (M,).

    Raises:
        NotFiniteError: A row holds NaN or an infinity.
    """
    check_finite(features, "features of the support")
    from sklearn.cluster import KMeans  # half a second that only this stage should wait for
    from sklearn.exceptions import ConvergenceWarning

    centroids, of_class = [], []
    for label in labels.unique().tolist():
        rows = features[labels == label]
        if k == 1:
            of_label = rows.mean(0, keepdim=True)
        elif len(rows) <= k:
            of_label = rows
        else:
            with warnings.catch_warnings():  # fewer distinct rows than k: repeated centroids are right
                warnings.simplefilter("ignore", ConvergenceWarning)
                fitted = KMeans(k, n_init=restarts, random_state=seed % 2**32).fit(rows.cpu().numpy())
            of_label = torch.from_numpy(fitted.cluster_centers_.astype(np.float32)).to(features)
        centroids.append(of_label)
        of_class.append(torch.full((len(of_label),), label, dtype=labels.dtype, device=labels.device))
    return torch.cat(centroids), torch.cat(of_class)


def closest_rows(features: Tensor, labels: Tensor, centroids: Tensor, of_class: Tensor) -> Tensor:
    """(M,) the row of the same class nearest to each centroid (Euclidean), lowest row on a tie."""
    # In float64: both rows of a cluster of two are equally far from its centroid but for rounding.
    distance = torch.cdist(centroids.double(), features.double())  # (M, N)
    distance.masked_fill_(of_class[:, None] != labels, float("inf"))
    return distance.argmin(1)
