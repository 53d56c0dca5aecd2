"""Memory Wrap's layers: a decision by training images of which most weigh nothing.

La Rosa, Capobianco and Nardi: Memory Wrap (arXiv 2106.01440), and A self-interpretable module for deep image
classification on small data (Applied Intelligence 2022). Signature and state dict are those of the authors' library
1.1.7; state dicts of 1.0.x and 1.1.x load too. Distances are matrix products: no tensor of queries x memory x features.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lookalike.methods.memory_wrap.sparsemax import sparsemax

TINY = 1e-6  # inside the root of cosine's norms: a zero vector stays zero


def cosine_distance(queries: Tensor, memory: Tensor) -> Tensor:
    """1 - cosine (B, M) of rows (B, D) and (M, D)."""
    return 1 - _unit(queries) @ _unit(memory).T


def l2_distance(queries: Tensor, memory: Tensor) -> Tensor:
    """Squared Euclidean distance (B, M)."""
    squares = queries.square().sum(1)[:, None] + memory.square().sum(1)
    return torch.addmm(squares, queries, memory.T, alpha=-2).clamp(min=0)


def dot_distance(queries: Tensor, memory: Tensor) -> Tensor:
    """Minus the inner product (B, M)."""
    return -(queries @ memory.T)


def _unit(rows: Tensor) -> Tensor:
    return rows / (rows.square().sum(1, keepdim=True) + TINY).sqrt()


DISTANCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cosine": cosine_distance,
    "l2": l2_distance,
    "dot": dot_distance,
}


class MLP(nn.Module):
    """Two linear layers with a ReLU between: the default classifier."""

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(inputs, hidden)
        self.fc2 = nn.Linear(hidden, outputs)

    def forward(self, features: Tensor) -> Tensor:
        """Logits (B, outputs) of features (B, inputs)."""
        logits: Tensor = self.fc2(F.relu(self.fc1(features)))
        return logits


@dataclass(frozen=True)
class Memory:
    """A memory prepared once for many queries, see `remember`.

    Attributes:
        features: (M, D).
        projected: (M, H) the memory's half of the first linear layer; None with a classifier of the user's own.
    """

    features: Tensor
    projected: Tensor | None


class _MemoryLayer(nn.Module):
    """What both layers share: content weights, checks, older state dicts."""

    PARTS: ClassVar[int]  # vectors that the classifier sees side by side

    def __init__(
        self,
        encoder_output_dim: int,
        output_dim: int,
        classifier: nn.Module | None = None,
        distance: str = "cosine",
    ) -> None:
        super().__init__()
        if distance not in DISTANCES:
            raise ValueError(f"distance is {distance!r}; there are {', '.join(DISTANCES)}.")
        self.encoder_output_dim = encoder_output_dim
        self.distance = distance
        self.read_head: nn.Linear | None = None  # of library 1.1.0 and 1.1.1; comes with their state dicts only
        width = self.PARTS * encoder_output_dim
        self.classifier = MLP(width, 2 * width, output_dim) if classifier is None else classifier
        self.register_load_state_dict_pre_hook(_rename_old_keys)

    def content_weights(self, encoder_output: Tensor, memory_set: Tensor) -> Tensor:
        """Weights (B, M) of the memory, each row summing to 1: sparsemax of minus the distance, in float32 or wider.

        Raises:
            ValueError: no memory, other widths than the layer's, or features that are not numbers.
        """
        queries, memory = self._checked(encoder_output, "queries"), self._checked(memory_set, "memory")
        if not len(memory):
            raise ValueError("the memory is empty; give at least one row.")
        if self.read_head is not None:
            queries, memory = self.read_head(queries), self.read_head(memory)
        with torch.autocast(queries.device.type, enabled=False):  # squares of half precision overflow
            wide = torch.promote_types(queries.dtype, torch.float32)
            return sparsemax(-DISTANCES[self.distance](queries.to(wide), memory.to(wide)))

    def _checked(self, rows: Tensor, what: str) -> Tensor:
        if rows.ndim != 2 or rows.shape[1] != self.encoder_output_dim:
            raise ValueError(
                f"{what} of shape {tuple(rows.shape)}: this layer takes (rows, {self.encoder_output_dim})."
            )
        # A training on a GPU would wait for the answer; there the loss tells.
        if (rows.device.type == "cpu" or not self.training) and not bool(torch.isfinite(rows).all()):
            raise ValueError(f"{what} with features that are not finite: look at the encoder and its input.")
        return rows

    def _first_layer(self) -> nn.Linear | None:
        return self.classifier.fc1 if isinstance(self.classifier, MLP) else None


class MemoryWrapLayer(_MemoryLayer):
    """Classify by the query's features and a weighted sum of memory features.

    Args:
        encoder_output_dim: width D of the features.
        output_dim: number of classes C.
        classifier: takes (B, 2 D); two linear layers by default.
        distance: cosine, l2 or dot.

    Raises:
        ValueError: an unknown distance.
    """

    PARTS = 2

    def remember(self, memory_set: Tensor) -> Memory:
        """Prepare a memory (M, D) once; `forward` takes it in place of the features."""
        first = self._first_layer()
        if first is None:
            return Memory(memory_set, None)
        return Memory(memory_set, memory_set @ first.weight[:, self.encoder_output_dim :].T)

    def forward(
        self, encoder_output: Tensor, memory_set: Tensor | Memory, return_weights: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Logits (B, C) of queries (B, D) with a memory (M, D); with `return_weights` also the weights (B, M)."""
        memory = memory_set if isinstance(memory_set, Memory) else Memory(memory_set, None)
        weights = self.content_weights(encoder_output, memory.features)
        logits, _ = self._decide(encoder_output, memory, weights)
        return (logits, weights) if return_weights else logits

    def hidden(self, encoder_output: Tensor, memory_set: Tensor | Memory) -> Tensor:
        """Hidden layer (B, H) of the default classifier, after its ReLU; distances between images are taken there."""
        memory = memory_set if isinstance(memory_set, Memory) else Memory(memory_set, None)
        _, hidden = self._decide(encoder_output, memory, self.content_weights(encoder_output, memory.features))
        if hidden is None:
            raise ValueError("a classifier of your own has no hidden layer that this library knows.")
        return hidden

    def _decide(self, queries: Tensor, memory: Memory, weights: Tensor) -> tuple[Tensor, Tensor | None]:
        first = self._first_layer()
        weights = weights.to(memory.features.dtype)
        if first is None:
            logits: Tensor = self.classifier(torch.cat([queries, weights @ memory.features], 1))
            return logits, None
        if memory.projected is None:
            before = first(torch.cat([queries, weights @ memory.features], 1))
        else:
            own = F.linear(queries, first.weight[:, : self.encoder_output_dim], first.bias)
            before = torch.addmm(own, weights, memory.projected)
        hidden = F.relu(before)
        assert isinstance(self.classifier, MLP)
        return self.classifier.fc2(hidden), hidden


class BaselineMemory(_MemoryLayer):
    """Classify by the weighted sum of memory features alone.

    Args:
        encoder_output_dim: width D of the features.
        output_dim: number of classes C.
        classifier: takes (B, D); two linear layers by default.
        distance: cosine, l2 or dot.

    Raises:
        ValueError: an unknown distance.
    """

    PARTS = 1

    def remember(self, memory_set: Tensor) -> Memory:
        """Prepare a memory (M, D) once; `forward` takes it in place of the features."""
        first = self._first_layer()
        return Memory(memory_set, None if first is None else memory_set @ first.weight.T)

    def forward(
        self, encoder_output: Tensor, memory_set: Tensor | Memory, return_weights: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Logits (B, C) of queries (B, D) with a memory (M, D); with `return_weights` also the weights (B, M)."""
        memory = memory_set if isinstance(memory_set, Memory) else Memory(memory_set, None)
        weights = self.content_weights(encoder_output, memory.features)
        first, used = self._first_layer(), weights.to(memory.features.dtype)
        if first is None or memory.projected is None:
            logits = self.classifier(used @ memory.features)
        else:
            assert isinstance(self.classifier, MLP)
            logits = self.classifier.fc2(F.relu(torch.addmm(first.bias, used, memory.projected)))
        return (logits, weights) if return_weights else logits


OLD_KEYS = {"fc.fc": "classifier.fc", "classifier.0.": "classifier.fc1.", "classifier.2.": "classifier.fc2."}


def new_key(key: str) -> str:
    """The name that an entry of an older library's state dict has now."""
    for old, new in OLD_KEYS.items():
        if key.startswith(old):
            return key.replace(old, new, 1)
    return key.replace("r_head.", "read_head.", 1) if key.startswith("r_head.") else key


def _rename_old_keys(layer: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Before loading: older names become today's; a read head is taken over where it did something."""
    assert isinstance(layer, _MemoryLayer)
    default = isinstance(layer.classifier, MLP)
    for key in [key for key in state if key.startswith(prefix)]:
        own = key.removeprefix(prefix)
        renamed = new_key(own)
        if renamed == own or (own.startswith("classifier.") and not default):
            continue
        value = state.pop(key)
        if renamed.startswith("read_head."):
            if isinstance(layer, BaselineMemory):
                continue  # was never used there
            if layer.read_head is None:
                layer.read_head = nn.Linear(layer.encoder_output_dim, layer.encoder_output_dim).to(value)
        state[prefix + renamed] = value
