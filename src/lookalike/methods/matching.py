"""Matching networks with full context embeddings on a random memory: a rival of Memory Wrap in its second paper.

Vinyals et al., NeurIPS 2016: the memory is read as one sequence by a bidirectional LSTM, queries by an LSTM that
attends to the memory; a query's class is a mixture of the memory's labels.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from lookalike.backbones.base import Backbone
from lookalike.methods import memory
from lookalike.methods.memory_wrap.layer import cosine_distance

SMALLEST = 1e-6  # of a probability and of its complement, before the logarithm


class Settings(memory.Settings):
    """Study entry of `matching`."""

    method: Literal["matching"]
    explain: tuple[()] = ()
    reads: Annotated[int, Field(ge=1)] = Field(2, description="Steps of the LSTM that reads the memory for a query.")


class ContextEmbedding(nn.Module):
    """Features of memory and queries in the light of the whole memory.

    Args:
        dim: width D of the features.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.memory_lstm = nn.LSTM(dim, dim, bidirectional=True)
        self.query_cell = nn.LSTMCell(dim, dim)

    def memory(self, features: Tensor) -> Tensor:
        """(M, D) of memory features (M, D), in their order: both directions of the LSTM and the features, summed."""
        forward, backward = self.memory_lstm(features)[0].chunk(2, dim=1)
        return forward + backward + features

    def queries(self, features: Tensor, memory: Tensor, reads: int) -> Tensor:
        """(B, D) of query features (B, D) after so many reads of the embedded memory (M, D)."""
        hidden = torch.zeros_like(features)
        cell = torch.zeros_like(features)
        for _ in range(reads):
            asked = hidden + features
            read = (asked @ memory.T).softmax(1) @ memory
            hidden, cell = self.query_cell(features, (asked + read, cell))
        return hidden + features


def attention(queries: Tensor, memory: Tensor) -> Tensor:
    """(B, M) softmax of minus the cosine distance."""
    return (-cosine_distance(queries, memory)).softmax(1)


def label_mixture(weights: Tensor, labels: Tensor, n_classes: int) -> Tensor:
    """Probabilities (B, C) from weights (B, M) of memory labels (M,)."""
    return weights @ F.one_hot(labels, n_classes).to(weights.dtype)


class Model(memory.MemoryClassifier):
    """Backbone, context embedding and attention."""

    settings: Settings

    def __init__(self, settings: Settings, backbone: Backbone, n_classes: int) -> None:
        super().__init__(settings, backbone, n_classes)
        self.context = ContextEmbedding(backbone.dim)

    def decide(self, features: Tensor, memory: Tensor, labels: Tensor, excluded: Tensor | None = None) -> Tensor:
        """Log of the label mixture, cut to [1e-6, 1 - 1e-6].

        A query's own image is left out of the attention; the memory's embedding, one sequence for all queries, still
        holds it.
        """
        with torch.autocast(features.device.type, enabled=False):
            embedded = self.context.memory(memory.float())
            queries = self.context.queries(features.float(), embedded, self.settings.reads)
            weights = attention(queries, embedded)
            if excluded is not None:
                weights = weights.masked_fill(excluded, 0)
                weights = weights / weights.sum(1, keepdim=True)
            return label_mixture(weights, labels, self.n_classes).clamp(SMALLEST, 1 - SMALLEST).log()
