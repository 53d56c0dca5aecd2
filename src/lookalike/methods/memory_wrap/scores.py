"""How good Memory Wrap's explanations are: scores of the Applied Intelligence paper, all queries at once.

Every score takes the content weights (B, M) of queries, and what the model says of queries and of memory images, each
memory image taken as a query with a second memory.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def majority_vote(weights: Tensor, memory_classes: Tensor, n_classes: int) -> Tensor:
    """(B,) the class that most of the used memory images have, each counting once; the lowest class wins a tie.

    Args:
        weights: (B, M).
        memory_classes: (M,) predicted or true classes.
        n_classes: C.
    """
    votes = (weights > 0).double() @ F.one_hot(memory_classes, n_classes).double()  # (B, C)
    return votes.argmax(1)


def closest_example(order: Tensor, predicted: Tensor, memory_predicted: Tensor) -> tuple[Tensor, Tensor]:
    """The best-ranked memory image of the predicted class.

    Args:
        order: (B, M) memory rows, the best first.
        predicted: (B,) classes of the queries.
        memory_predicted: (M,) classes of the memory images.

    Returns:
        (B,) memory rows, and (B,) whether there was one; the best-ranked of all stands in where there was none.
    """
    agrees = memory_predicted[order] == predicted[:, None]  # (B, M)
    first = agrees.to(torch.uint8).argmax(1, keepdim=True)
    return order.gather(1, first)[:, 0], agrees.any(1)


def input_non_representativeness(logits: Tensor, example_logits: Tensor) -> Tensor:
    """(B,) mean absolute difference of the logits (B, C) of queries and of their examples; lower is better."""
    return (example_logits - logits).abs().mean(1)


def prediction_non_representativeness(logits: Tensor, example_logits: Tensor) -> Tensor:
    """(B,) cross-entropy of the examples' logits (B, C) against the queries' predicted classes; lower is better."""
    return F.cross_entropy(example_logits, logits.argmax(1), reduction="none")


def squared_distances(queries: Tensor, memory: Tensor, parts: Tensor | None = None) -> Tensor:
    """(B, M) squared Euclidean distances of hidden layers, for ranking; with `parts` each axis counts by its part.

    Args:
        queries: (B, H).
        memory: (M, H).
        parts: (B, H) weights of the axes, the query's own: distance of query * parts and memory * parts.
    """
    if parts is None:
        parts = torch.ones(1, queries.shape[1], dtype=queries.dtype)
    squares = parts.square().double()
    wide, other = queries.double(), memory.double()  # nearly equal rows lose their digits in the expansion
    of_queries = (wide.square() * squares).sum(1, keepdim=True)
    return of_queries - 2 * (wide * squares) @ other.T + squares @ other.square().T
