"""The matching head: a query's class is a mixture of a memory's labels, by attention in the light of the whole memory.

Vinyals et al., NeurIPS 2016: the memory is read as one sequence by a bidirectional LSTM, queries by an LSTM that
attends to the memory (docs/algorithms/memory_wrap.md, section 9).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lookalike.core.finite import check_features, check_finite, may_wait
from lookalike.distances.pairwise import cosine_distance

SMALLEST = 1e-6  # of a probability and of its complement, before the logarithm


class MatchingHead(nn.Module):
    """Matching networks with full context embeddings.

    Args:
        dim: Width D of the features.
        n_classes: Number of classes C.
        reads: Steps of the LSTM that reads the memory for a query.

    Example:
        >>> import torch
        >>> from lookalike import MatchingHead
        >>> head = MatchingHead(dim=2, n_classes=3)
        >>> memory, labels = torch.eye(2).repeat(2, 1), torch.tensor([0, 1, 0, 1])
        >>> head(torch.randn(5, 2), memory, labels).exp().sum(1).allclose(torch.ones(5), atol=1e-4)
        True
    """

    def __init__(self, dim: int, n_classes: int, reads: int = 2) -> None:
        super().__init__()
        self.memory_lstm = nn.LSTM(dim, dim, bidirectional=True)
        self.query_cell = nn.LSTMCell(dim, dim)
        self.n_classes, self.reads = n_classes, reads

    def embed_memory(self, features: Tensor) -> Tensor:
        """(M, D) of memory features (M, D), in their order: both directions of the LSTM and the features, summed."""
        forward, backward = self.memory_lstm(features)[0].chunk(2, dim=1)
        return forward + backward + features

    def embed_queries(self, features: Tensor, memory: Tensor) -> Tensor:
        """(B, D) of query features (B, D) after the reads of the embedded memory (M, D)."""
        hidden = torch.zeros_like(features)
        cell = torch.zeros_like(features)
        for _ in range(self.reads):
            attending = hidden + features
            read = (attending @ memory.T).softmax(1) @ memory
            hidden, cell = self.query_cell(features, (attending + read, cell))
        return hidden + features

    def forward(self, features: Tensor, memory: Tensor, labels: Tensor, excluded: Tensor | None = None) -> Tensor:
        """Log-probabilities (B, C), probabilities cut to [1e-6, 1 - 1e-6].

        A query's own image is left out of the attention; the memory's embedding, one sequence for all queries, still
        holds it.

        Args:
            features: (B, D) features of the queries.
            memory: (M, D) features of the memory, in the order in which it is read.
            labels: (M,) classes of the memory.
            excluded: (B, M) true where a query may not use a memory row.

        Raises:
            NotFiniteError: A feature is NaN or infinite, or all rows are excluded for a query.
        """
        check_features(features, memory, self.training)
        embedded = self.embed_memory(memory)
        weights = attention(self.embed_queries(features, embedded), embedded)
        if excluded is not None:
            weights = weights.masked_fill(excluded, 0)
            weights = weights / weights.sum(1, keepdim=True)
            if may_wait(weights, self.training):
                check_finite(weights, "weights of the memory", "query {}".format, "leave it a row that is not excluded")
        return label_mixture(weights, labels, self.n_classes).clamp(SMALLEST, 1 - SMALLEST).log()


def attention(queries: Tensor, memory: Tensor) -> Tensor:
    """(B, M) softmax of minus the cosine distance."""
    return (-cosine_distance(queries, memory)).softmax(1)


def label_mixture(weights: Tensor, labels: Tensor, n_classes: int) -> Tensor:
    """Probabilities (B, C) from weights (B, M) of memory labels (M,)."""
    return weights @ F.one_hot(labels, n_classes).to(weights.dtype)
