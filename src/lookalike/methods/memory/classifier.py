"""Random memories of training images: drawn anew at each training step, drawn and embedded once for inference.

A training step draws a memory from the training subset and embeds it beside the batch. At inference `cached` is one
memory for all queries, `draws` several, whose results are averaged as in Memory Wrap's paper (there each batch of 500
test images has a memory of its own, so that results depend on the size of the batches).
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from lookalike.contracts.backbone import Backbone
from lookalike.contracts.classifier import Batch, Classifier, Prediction
from lookalike.contracts.features import Features, TrainingImages
from lookalike.core.determinism import make_generator
from lookalike.core.errors import LookalikeError
from lookalike.core.seeds import derive_seed
from lookalike.methods.memory.settings import MemoryMethodSettings

QUERIES_PER_BLOCK = 2048


def draw_memory(labels: Tensor, size: int, balanced: bool, generator: torch.Generator) -> Tensor:
    """(M,) distinct rows of the training subset, uniform or class by class.

    Args:
        labels: (N,) classes of the subset.
        size: Number of rows M; N where that is less.
        balanced: Whether classes take turns, so that their numbers differ by one at most while images last.
        generator: Source of randomness, on the labels' device.
    """
    rows = torch.randperm(len(labels), generator=generator, device=labels.device)
    if not balanced:
        return rows[:size]
    of_class, order = labels[rows].sort(stable=True)
    first = torch.searchsorted(of_class, of_class)  # where each row's class begins
    turn = torch.empty_like(rows)
    turn[order] = torch.arange(len(rows), device=rows.device) - first
    # Stable: within a turn the order is the shuffled one, so that no class is always left out of the last turn.
    return rows[turn.sort(stable=True).indices[:size]]


class MemoryClassifier(Classifier):
    """A classifier whose answer depends on a memory of training images.

    `memory`: features (K + 1, M, D), labels and ids (K + 1, M) of the memories at inference, after `build_support`. The
    k-th memory decides; where memory images are themselves taken as queries, they meet the next one.
    """

    def __init__(self, settings: MemoryMethodSettings, backbone: Backbone, n_classes: int) -> None:
        super().__init__(settings, backbone, n_classes)
        self.settings = settings

    @abstractmethod
    def decide(self, features: Tensor, memory: Any, labels: Tensor, excluded: Tensor | None = None) -> Tensor:
        """Log-probabilities (B, C).

        Args:
            features: (B, D) features of the queries.
            memory: (M, D) features in training; what `prepared` gives at inference.
            labels: (M,) classes of the memory.
            excluded: (B, M) true where a query may not use a memory row.
        """

    # Training -------------------------------------------------------------------------------------

    def check_training(self, pool: TrainingImages) -> None:
        """A query needs something else than itself in the memory."""
        memory_settings = self.settings.memory
        if memory_settings.exclude_queries and min(memory_settings.size, len(pool.labels)) < 2:
            raise LookalikeError(
                f"a memory of {min(memory_settings.size, len(pool.labels))} image may hold the query alone, which it "
                "must not use; write memory: {size: 2} or more, or memory: {exclude_queries: false}."
            )

    def training_loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Negative log-likelihood of the batch under a new memory.

        Batch and memory pass the network one after the other, so that batch normalisation sees each by itself, as in
        the paper's code.
        """
        memory_settings = self.settings.memory
        rows = draw_memory(
            batch.pool.labels, memory_settings.size, memory_settings.balanced, batch.generators["support"]
        )
        features = self.embed(batch.images)
        memory = self.embed(batch.pool.load(rows, batch.generators["augment"]))
        excluded = batch.rows[:, None] == rows if memory_settings.exclude_queries else None
        log_probs = self.decide(features, memory, batch.pool.labels[rows], excluded)
        return torch.nn.functional.nll_loss(log_probs, batch.labels), log_probs

    def memory_remedies(self) -> list[str]:
        """A smaller memory."""
        return [f"memory.size below {self.settings.memory.size}"]

    # Inference ------------------------------------------------------------------------------------

    def build_support(self, support: Features, seed: int) -> None:
        """Draw the memories of inference from the training subset."""
        memory_settings = self.settings.memory
        rows = torch.stack(
            [
                draw_memory(
                    support.labels,
                    memory_settings.size,
                    memory_settings.balanced,
                    make_generator(derive_seed(seed, "memory", number)),
                )
                for number in range(self.settings.inference.draws + 1)
            ]
        )
        self.load_support(
            {"features": support.features[rows], "labels": support.labels[rows], "ids": support.ids[rows]}
        )

    def support_tensors(self) -> dict[str, Tensor]:
        """Features (K + 1, M, D), labels and ids (K + 1, M)."""
        return self.memory

    def load_support(self, tensors: dict[str, Tensor]) -> None:
        """Take the store's tensors."""
        self.memory = {name: value.cpu() for name, value in tensors.items()}

    def predict(self, queries: Features, mode: str) -> Prediction:
        """Under the first memory; in mode `draws` under each of the others too."""
        blocks = queries.features.cpu().split(QUERIES_PER_BLOCK)
        log_probs = torch.stack(
            [
                torch.cat([self.decide(block, self.prepared(k), self.memory["labels"][k]).float() for block in blocks])
                for k in range(self.memories(mode))
            ]
        )
        return Prediction(log_probs[0], log_probs if mode == "draws" else None)

    def prepared(self, number: int) -> Any:
        """A memory of inference as `decide` takes it; a method may do what it can do once."""
        return self.memory["features"][number]

    def memories(self, mode: str) -> int:
        """How many memories a mode averages over.

        Raises:
            LookalikeError: The mode is unknown.
        """
        if mode not in ("cached", "draws"):
            raise LookalikeError(f"mode {mode!r} is unknown; a method with a memory has cached and draws.")
        return self.settings.inference.draws if mode == "draws" else 1
