"""k nearest neighbours on frozen features: the kNN classifier of Nguyen et al., NeurIPS 2022.

Cosine similarity of pooled features; the k nearest training images vote with equal weight; the lowest class
index wins a tie (section 3 of the specification). Equal similarities go to the lower training row.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from lookalike.backbones.base import Backbone
from lookalike.errors import LookalikeError
from lookalike.explanation.record import Explanation, exemplars
from lookalike.methods.base import Classifier, Embedded, FrozenSettings, Prediction
from lookalike.settings import Settings as BaseSettings
from lookalike.support.neighbours import nearest, normalise_rows


class Inference(BaseSettings):
    """Settings of the vote."""

    voters: Annotated[int, Field(ge=1)] = Field(20, description="Nearest training images that vote.")


class Settings(FrozenSettings):
    """Study entry of `knn`."""

    method: Literal["knn"]
    modes: Annotated[tuple[Literal["vote"], ...], Field(min_length=1)] = ("vote",)
    explain: tuple[Literal["vote"], ...] = ("vote",)
    inference: Inference = Inference()


def vote(labels: Tensor, n_classes: int) -> Tensor:
    """Shares of the votes (B, C) from the voters' labels (B, k); every voter weighs the same."""
    counts = torch.zeros(len(labels), n_classes, dtype=torch.float64)
    counts.scatter_add_(1, labels, torch.ones_like(labels, dtype=torch.float64))
    return counts / labels.shape[1]


def nearest_rows(queries: Embedded, features: Tensor, labels: Tensor, k: int) -> Tensor:
    """(B, k) support rows of the classes that compete, most alike first by cosine.

    Args:
        queries: B of them.
        features: (N, D) of unit length.
        labels: (N,).
        k: how many.

    Raises:
        LookalikeError: fewer images than k are of these classes.
    """
    some = None if queries.competing is None else torch.isin(labels, queries.competing).nonzero()[:, 0]
    count = len(labels) if some is None else len(some)
    if count < k:
        where, or_else = (
            ("", "") if some is None else (" of the classes that compete", ", or write competing_classes: all")
        )
        raise LookalikeError(
            f"{k} nearest are wanted, but there are only {count} training images{where}; lower inference.voters or "
            f"inference.shortlist{or_else}."
        )
    own = normalise_rows(queries.features)
    if some is None:
        return nearest(own, features, k, "inner_product")[1]
    return some[nearest(own, features[some], k, "inner_product")[1]]


class Model(Classifier):
    """Majority vote of the nearest training images."""

    def __init__(self, settings: Settings, backbone: Backbone, n_classes: int) -> None:
        super().__init__(settings, backbone, n_classes)
        self.voters = settings.inference.voters

    def build_support(self, support: Embedded, seed: int) -> None:
        """Keep unit features, labels and ids of the training subset."""
        if len(support) < self.voters:
            raise LookalikeError(
                f"inference.voters is {self.voters} but the training subset has {len(support)} images; "
                f"write inference: {{voters: {len(support)}}} or less."
            )
        self.load_support({"features": normalise_rows(support.features), "labels": support.labels, "ids": support.ids})

    def support_tensors(self) -> dict[str, Tensor]:
        """Unit features (N, D), labels (N,), ids (N,)."""
        return {"features": self.features, "labels": self.labels, "ids": self.ids}

    def load_support(self, tensors: dict[str, Tensor]) -> None:
        """Take the store's tensors."""
        self.features = tensors["features"].cpu()
        self.labels, self.ids = tensors["labels"].cpu(), tensors["ids"].cpu()

    def predict(self, queries: Embedded, mode: str) -> Prediction:
        """Log of the shares of the votes; -inf for a class without one."""
        rows = nearest_rows(queries, self.features, self.labels, self.voters)
        return Prediction(vote(self.labels[rows], self.n_classes).log().float())

    def explain(self, queries: Embedded, mode: str) -> list[Explanation]:
        """The voters, nearest first, each with weight 1/k."""
        rows = nearest_rows(queries, self.features, self.labels, self.voters)
        prediction = Prediction(vote(self.labels[rows], self.n_classes).log())
        weights = torch.full(rows.shape, 1 / self.voters)
        return exemplars(queries, prediction, mode, self.ids[rows], self.labels[rows], weights)
