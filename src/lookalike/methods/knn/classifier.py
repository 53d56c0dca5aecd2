"""k nearest neighbours on frozen features.

Cosine similarity of pooled features; the k nearest training images vote with equal weight; the lowest class index wins
a tie (docs/algorithms/knn_emd_corr.md, section 2). Equal similarities go to the lower training row.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lookalike.contracts.backbone import Backbone
from lookalike.contracts.classifier import Classifier, Prediction
from lookalike.contracts.explanation import Explanation, build_explanations
from lookalike.contracts.features import Features
from lookalike.core.errors import LookalikeError
from lookalike.distances.neighbours import nearest
from lookalike.distances.pairwise import normalise_rows
from lookalike.methods.knn.settings import KNNSettings


def vote(labels: Tensor, n_classes: int) -> Tensor:
    """Shares of the votes (B, C) from the labels (B, k) of those that vote; each weighs the same."""
    counts = torch.zeros(len(labels), n_classes, dtype=torch.float64)
    counts.scatter_add_(1, labels, torch.ones_like(labels, dtype=torch.float64))
    return counts / labels.shape[1]


def nearest_rows(queries: Features, features: Tensor, labels: Tensor, k: int) -> Tensor:
    """(B, k) support rows of the classes that queries may be given, most alike first by cosine.

    Args:
        queries: Features of B queries.
        features: (N, D) support features of unit length.
        labels: (N,) classes of the support.
        k: Number of rows.

    Raises:
        LookalikeError: Fewer images than k are of these classes.
    """
    allowed = None if queries.class_subset is None else torch.isin(labels, queries.class_subset).nonzero()[:, 0]
    count = len(labels) if allowed is None else len(allowed)
    if count < k:
        where, or_else = ("", "") if allowed is None else (" of the classes that occur", ", or write class_subset: all")
        raise LookalikeError(
            f"{k} nearest are wanted, but there are only {count} training images{where}; lower inference.k or "
            f"inference.n_candidates{or_else}."
        )
    rows = normalise_rows(queries.features)
    if allowed is None:
        return nearest(rows, features, k, "dot")[1]
    return allowed[nearest(rows, features[allowed], k, "dot")[1]]


class KNNClassifier(Classifier):
    """Majority vote of the nearest training images."""

    def __init__(self, settings: KNNSettings, backbone: Backbone, n_classes: int) -> None:
        super().__init__(settings, backbone, n_classes)
        self.k = settings.inference.k

    def build_support(self, support: Features, seed: int) -> None:
        """Keep unit features, labels and ids of the training subset."""
        if len(support) < self.k:
            raise LookalikeError(
                f"inference.k is {self.k} but the training subset has {len(support)} images; "
                f"write inference: {{k: {len(support)}}} or less."
            )
        self.load_support({"features": normalise_rows(support.features), "labels": support.labels, "ids": support.ids})

    def support_tensors(self) -> dict[str, Tensor]:
        """Unit features (N, D), labels (N,), ids (N,)."""
        return {"features": self.features, "labels": self.labels, "ids": self.ids}

    def load_support(self, tensors: dict[str, Tensor]) -> None:
        """Take the store's tensors."""
        self.features = tensors["features"].cpu()
        self.labels, self.ids = tensors["labels"].cpu(), tensors["ids"].cpu()

    def predict(self, queries: Features, mode: str) -> Prediction:
        """Log of the shares of the votes; -inf for a class without one."""
        rows = nearest_rows(queries, self.features, self.labels, self.k)
        return Prediction(vote(self.labels[rows], self.n_classes).log().float())

    def explain(self, queries: Features, mode: str) -> list[Explanation]:
        """The images that voted, nearest first, each with weight 1/k."""
        rows = nearest_rows(queries, self.features, self.labels, self.k)
        prediction = Prediction(vote(self.labels[rows], self.n_classes).log())
        weights = torch.full(rows.shape, 1 / self.k)
        return build_explanations(queries, prediction, mode, self.ids[rows], self.labels[rows], weights)
