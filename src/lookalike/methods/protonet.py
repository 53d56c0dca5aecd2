"""Prototypical networks on a random memory: a rival of Memory Wrap in the Applied Intelligence paper.

Snell et al., NeurIPS 2017, with the distance of Memory Wrap: a class is the mean of its memory images' features, and
cosine distances become log-probabilities. The memory is balanced, so that every class is in it.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from lookalike.errors import LookalikeError
from lookalike.methods import memory
from lookalike.methods.base import Pool
from lookalike.methods.memory_wrap.layer import cosine_distance, paired_cosine_distance


class BalancedMemory(memory.MemorySettings):
    """A memory that holds every class."""

    balanced: Literal[True] = True  # type: ignore[assignment]


class Settings(memory.Settings):
    """Study entry of `protonet`."""

    method: Literal["protonet"]
    explain: tuple[()] = ()
    memory: BalancedMemory = Field(BalancedMemory())  # type: ignore[assignment]


def class_means(features: Tensor, labels: Tensor, n_classes: int) -> Tensor:
    """Prototypes (C, D): means of the features of each class.

    Args:
        features: (M, D) of the memory.
        labels: (M,).
        n_classes: C.

    Raises:
        LookalikeError: a class has no image in the memory.
    """
    member = F.one_hot(labels, n_classes).to(features.dtype)  # (M, C)
    counts = member.sum(0)
    if bool((counts == 0).any()):
        absent = int((counts == 0).nonzero()[0])
        raise LookalikeError(
            f"class {absent} has no image in the memory of {len(labels)} images; a prototypical network needs one of "
            f"each of the {n_classes} classes: raise memory.size, use a larger training subset, or leave the class out."
        )
    return member.T @ features / counts[:, None]


def distances_from_classes(
    features: Tensor, memory: Tensor, labels: Tensor, n_classes: int, excluded: Tensor | None = None
) -> Tensor:
    """Cosine distances (B, C) of queries from the class means of the memory.

    Args:
        features: (B, D) of the queries.
        memory: (M, D).
        labels: (M,) of the memory.
        n_classes: C.
        excluded: (B, M) rows that a query may not use; a class that is left with none keeps them for that query.
    """
    distances = cosine_distance(features, class_means(memory, labels, n_classes))
    if excluded is None:
        return distances
    member = F.one_hot(labels, n_classes).bool()  # (M, C)
    query, label = (excluded.to(memory.dtype) @ member.to(memory.dtype)).nonzero(
        as_tuple=True
    )  # (P,) means that change
    left = member.T[label] & ~excluded[query]  # (P, M)
    left |= ~left.any(1, keepdim=True) & member.T[label]
    weights = left.to(memory.dtype)
    own = weights @ memory / weights.sum(1, keepdim=True)  # (P, D)
    return distances.index_put((query, label), paired_cosine_distance(features[query], own))


class Model(memory.MemoryClassifier):
    """Backbone and class means of the memory."""

    def check_training(self, pool: Pool) -> None:
        """Every class needs an image in the subset, and a place in the memory."""
        super().check_training(pool)
        if self.settings.memory.size < self.n_classes:
            raise LookalikeError(
                f"memory.size is {self.settings.memory.size}, but a prototypical network needs one of each of the "
                f"{self.n_classes} classes; write memory: {{size: {self.n_classes}}} or more."
            )
        missing = (torch.bincount(pool.labels, minlength=self.n_classes) == 0).nonzero().flatten()
        if len(missing):
            raise LookalikeError(
                f"class {int(missing[0])} has no image in the training subset, so that no memory holds it; use a "
                "larger size or leave the class out."
            )

    def decide(self, features: Tensor, memory: Tensor, labels: Tensor, excluded: Tensor | None = None) -> Tensor:
        """Log-softmax of minus the distance from the class means."""
        with torch.autocast(features.device.type, enabled=False):
            distances = distances_from_classes(features.float(), memory.float(), labels, self.n_classes, excluded)
            return F.log_softmax(-distances, dim=1)
