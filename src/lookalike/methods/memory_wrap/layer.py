"""Memory Wrap's layers: a decision by training images of which most weigh nothing.

La Rosa, Capobianco and Nardi: Memory Wrap (arXiv 2106.01440), and A self-interpretable module for deep image
classification on small data (Applied Intelligence 2022). Signature and state dict are those of the authors' library
1.1.7; state dicts of 1.0.x and 1.1.x load too. Distances are matrix products: no tensor of queries x memory x features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lookalike.core.finite import check_finite, may_wait
from lookalike.distances.pairwise import DISTANCES
from lookalike.methods.memory_wrap.sparsemax import sparsemax


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
        features: (M, D) of the memory images.
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

    def content_weights(
        self, encoder_output: Tensor, memory_set: Tensor | Memory, excluded: Tensor | None = None
    ) -> Tensor:
        """Weights (B, M) of the memory, each row summing to 1: sparsemax of minus the distance, in float32 or wider.

        Args:
            encoder_output: (B, D) features of the queries.
            memory_set: (M, D) features of the memory.
            excluded: (B, M) true where a query may not use a memory row, its own image say.

        Raises:
            ValueError: There is no memory, other widths than the layer's, or features that are not numbers.
        """
        rows = memory_set.features if isinstance(memory_set, Memory) else memory_set
        queries, memory = self._checked(encoder_output, "queries"), self._checked(rows, "memory")
        if not len(memory):
            raise ValueError("the memory is empty; give at least one row.")
        if self.read_head is not None:
            queries, memory = self.read_head(queries), self.read_head(memory)
        with torch.autocast(queries.device.type, enabled=False):  # squares of half precision overflow
            wide = torch.promote_types(queries.dtype, torch.float32)
            scores = -DISTANCES[self.distance](queries.to(wide), memory.to(wide))
            if may_wait(scores, self.training):
                remedy = "features are too large: scale them"
                check_finite(scores, f"distances ({self.distance})", "query {}".format, remedy)
            return sparsemax(scores if excluded is None else scores.masked_fill(excluded, -torch.inf))

    def _checked(self, rows: Tensor, what: str) -> Tensor:
        if rows.ndim != 2 or rows.shape[1] != self.encoder_output_dim:
            raise ValueError(
                f"{what} of shape {tuple(rows.shape)}: this layer takes (rows, {self.encoder_output_dim})."
            )
        if may_wait(rows, self.training):
            check_finite(rows, f"features of the {what}", remedy="look at the encoder and its input")
        return rows

    def remember(self, memory_set: Tensor) -> Memory:
        """Prepare a memory (M, D) once; `forward` takes it in place of the features."""
        if not isinstance(self.classifier, MLP):
            return Memory(memory_set, None)
        return Memory(memory_set, memory_set @ self._memory_half().T)

    def _memory_half(self) -> Tensor:
        """Columns (H, D) of the first linear layer that meet the memory vector: the last ones."""
        assert isinstance(self.classifier, MLP)
        return self.classifier.fc1.weight[:, -self.encoder_output_dim :]

    def forward(
        self,
        encoder_output: Tensor,
        memory_set: Tensor | Memory,
        return_weights: bool = False,
        excluded: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Logits (B, C) of queries (B, D) with a memory (M, D); with `return_weights` also the weights (B, M)."""
        weights = self.content_weights(encoder_output, memory_set, excluded)
        if isinstance(self.classifier, MLP):
            logits = self.classifier.fc2(self.hidden(encoder_output, memory_set, weights))
        else:
            memory = memory_set.features if isinstance(memory_set, Memory) else memory_set
            logits = self.classifier(self._joined(encoder_output, weights.to(memory.dtype) @ memory))
        return (logits, weights) if return_weights else logits

    def hidden(self, encoder_output: Tensor, memory_set: Tensor | Memory, weights: Tensor | None = None) -> Tensor:
        """Hidden layer (B, H) of the default classifier, after its ReLU; distances between images are taken there.

        Args:
            encoder_output: (B, D) features of the queries.
            memory_set: (M, D) features of the memory.
            weights: (B, M) result of `content_weights`, where it is known.

        Raises:
            ValueError: The classifier is not the default one.
        """
        if not isinstance(self.classifier, MLP):
            raise ValueError("a classifier of your own has no hidden layer that this library knows.")
        if weights is None:
            weights = self.content_weights(encoder_output, memory_set)
        first = self.classifier.fc1
        memory = memory_set if isinstance(memory_set, Memory) else Memory(memory_set, None)
        weights = weights.to(memory.features.dtype)
        if memory.projected is None:
            return F.relu(first(self._joined(encoder_output, weights @ memory.features)))
        if self.PARTS == 1:
            return F.relu(torch.addmm(first.bias, weights, memory.projected))
        of_query = F.linear(encoder_output, first.weight[:, : self.encoder_output_dim], first.bias)
        return F.relu(torch.addmm(of_query, weights, memory.projected))

    def _joined(self, queries: Tensor, memory_vectors: Tensor) -> Tensor:
        """What the classifier sees (B, PARTS D)."""
        return memory_vectors if self.PARTS == 1 else torch.cat([queries, memory_vectors], 1)


class MemoryWrapLayer(_MemoryLayer):
    """Classify by the query's features and a weighted sum of memory features.

    Args:
        encoder_output_dim: Width D of the features.
        output_dim: Number of classes C.
        classifier: Module that takes (B, 2 D); two linear layers by default.
        distance: `cosine`, `l2` (squared Euclidean) or `dot`.

    Raises:
        ValueError: The distance is unknown.

    Example:
        >>> import torch
        >>> from lookalike import MemoryWrapLayer
        >>> layer = MemoryWrapLayer(encoder_output_dim=2, output_dim=3)
        >>> memory = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
        >>> logits, weights = layer(torch.tensor([[1.0, 0.1]]), memory, return_weights=True)
        >>> logits.shape, [round(weight, 2) for weight in weights[0].tolist()]
        (torch.Size([1, 3]), [0.95, 0.05, 0.0])
    """

    PARTS = 2


class BaselineMemory(_MemoryLayer):
    """Classify by the weighted sum of memory features alone.

    Args:
        encoder_output_dim: Width D of the features.
        output_dim: Number of classes C.
        classifier: Module that takes (B, D); two linear layers by default.
        distance: `cosine`, `l2` (squared Euclidean) or `dot`.

    Raises:
        ValueError: The distance is unknown.

    Example:
        >>> import torch
        >>> from lookalike import BaselineMemory
        >>> layer = BaselineMemory(encoder_output_dim=2, output_dim=3)
        >>> memory = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
        >>> logits, weights = layer(torch.tensor([[1.0, 0.1]]), memory, return_weights=True)
        >>> logits.shape, [round(weight, 2) for weight in weights[0].tolist()]
        (torch.Size([1, 3]), [0.95, 0.05, 0.0])
    """

    PARTS = 1


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
        name = key.removeprefix(prefix)
        renamed = new_key(name)
        if renamed == name or (name.startswith("classifier.") and not default):
            continue
        value = state.pop(key)
        if renamed.startswith("read_head."):
            if isinstance(layer, BaselineMemory):
                continue  # was never used there
            if layer.read_head is None:
                layer.read_head = nn.Linear(layer.encoder_output_dim, layer.encoder_output_dim).to(value)
        state[prefix + renamed] = value
