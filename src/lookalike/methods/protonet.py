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
from lookalike.methods.memory_wrap.layer import cosine_distance


class BalancedMemory(memory.MemorySettings):
    """A memory that holds every class."""

    balanced: Literal[True] = True  # type: ignore[assignment]


class Settings(memory.Settings):
    """Study entry of `protonet`."""

    method: Literal["protonet"]
    explain: tuple[()] = ()
    memory: BalancedMemory = Field(BalancedMemory())  # type: ignore[assignment]


def class_means(features: Tensor, labels: Tensor, n_classes: int, excluded: Tensor | None = None) -> Tensor:
    """Prototypes (C, D): means of the features (M, D) of each class; (B, C, D) where queries exclude rows of their own.

    Args:
        features: (M, D) of the memory.
        labels: (M,).
        n_classes: C.
        excluded: (B, M) rows that a query may not use; a class that is left with none keeps them for that query.

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
    sums = member.T @ features  # (C, D)
    if excluded is None or not bool(excluded.any()):
        return sums / counts[:, None]
    out = excluded.to(features.dtype)  # (B, M)
    left = counts - out @ member  # (B, C)
    empty = left == 0
    less = torch.einsum("bm,mc,md->bcd", out, member, features) * ~empty[..., None]
    return (sums - less) / torch.where(empty, counts, left)[..., None]


def prototype_log_probs(features: Tensor, prototypes: Tensor) -> Tensor:
    """Log-softmax (B, C) of minus cosine distance of features (B, D) from prototypes (C, D) or (B, C, D)."""
    if prototypes.ndim == 2:
        return F.log_softmax(-cosine_distance(features, prototypes), dim=1)
    each = torch.vmap(lambda query, own: cosine_distance(query[None], own)[0])
    return F.log_softmax(-each(features, prototypes), dim=1)


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
            return prototype_log_probs(features.float(), class_means(memory.float(), labels, self.n_classes, excluded))
