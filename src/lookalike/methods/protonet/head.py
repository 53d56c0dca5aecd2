"""The prototypical head: a class is the mean of its memory images' features, and the nearest class decides.

Snell et al., NeurIPS 2017, with the distance of Memory Wrap: cosine distances become log-probabilities
(docs/algorithms/memory_wrap.md, section 9).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from lookalike.core.errors import LookalikeError
from lookalike.core.finite import check_features
from lookalike.distances.pairwise import cosine_distance, paired_cosine_distance


class PrototypicalHead(nn.Module):
    """Log-softmax of minus the cosine distance from the class means of a memory.

    Args:
        n_classes: Number of classes C; each must be in the memory.

    Example:
        >>> import torch
        >>> from lookalike import PrototypicalHead
        >>> head = PrototypicalHead(n_classes=2)
        >>> memory, labels = torch.tensor([[1.0, 0.0], [0.8, 0.2], [0.0, 1.0]]), torch.tensor([0, 0, 1])
        >>> head(torch.tensor([[1.0, 0.0]]), memory, labels).exp().round(decimals=2)
        tensor([[0.7300, 0.2700]])
    """

    def __init__(self, n_classes: int) -> None:
        super().__init__()
        self.n_classes = n_classes

    def forward(self, features: Tensor, memory: Tensor, labels: Tensor, excluded: Tensor | None = None) -> Tensor:
        """Log-probabilities (B, C).

        Args:
            features: (B, D) features of the queries.
            memory: (M, D) features of the memory.
            labels: (M,) classes of the memory.
            excluded: (B, M) true where a query may not use a memory row.

        Raises:
            LookalikeError: A class has no image in the memory, or a feature is not finite.
        """
        check_features(features, memory, self.training)
        distances = distances_from_classes(features, memory, labels, self.n_classes, excluded)
        return F.log_softmax(-distances, dim=1)


def class_means(features: Tensor, labels: Tensor, n_classes: int) -> Tensor:
    """Prototypes (C, D): means of the features of each class.

    Args:
        features: (M, D) features of the memory.
        labels: (M,) classes of the memory.
        n_classes: Number of classes C.

    Raises:
        LookalikeError: A class has no image in the memory.
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
        features: (B, D) features of the queries.
        memory: (M, D) features of the memory.
        labels: (M,) classes of the memory.
        n_classes: Number of classes C.
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
    means = weights @ memory / weights.sum(1, keepdim=True)  # (P, D)
    return distances.index_put((query, label), paired_cosine_distance(features[query], means))
