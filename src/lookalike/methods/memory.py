"""Random memories of training images: what Memory Wrap and the few-shot classifiers it is compared with decide by.

A training step draws a memory from the training subset and embeds it beside the batch. At inference memories are drawn
and embedded once: `cached` is one of them for all queries, `draws` several, whose results are averaged as in the paper
(there each batch of 500 test images has a memory of its own, so that results depend on the size of the batches).
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from lookalike.backbones.base import Backbone
from lookalike.determinism import generator
from lookalike.errors import LookalikeError
from lookalike.methods.base import Batch, Classifier, Embedded, Pool, Prediction, TrainedSettings
from lookalike.seeds import derive_seed
from lookalike.settings import Settings as BaseSettings

Mode = Literal["cached", "draws"]
QUERIES_PER_BLOCK = 2048


class MemorySettings(BaseSettings):
    """The memory of a training step, and of inference."""

    size: Annotated[int, Field(ge=1)] = Field(100, description="Images; all of the training subset where it has fewer.")
    balanced: bool = Field(False, description="The same number of images of each class, give or take one.")
    exclude_queries: bool = Field(True, description="In training no query uses its own image.")


class Inference(BaseSettings):
    """Memories at inference."""

    draws: Annotated[int, Field(ge=1)] = Field(5, description="Memories of mode draws.")


class Settings(TrainedSettings):
    """What study entries with a memory share."""

    modes: Annotated[tuple[Mode, ...], Field(min_length=1)] = ("cached", "draws")
    memory: MemorySettings = MemorySettings()
    inference: Inference = Inference()


def draw_memory(labels: Tensor, size: int, balanced: bool, made: torch.Generator) -> Tensor:
    """(M,) distinct rows of the training subset, uniform or class by class.

    Args:
        labels: (N,) of the subset.
        size: M; N where that is less.
        balanced: take the classes in turns, so that their numbers differ by one at most while images last.
        made: the source of randomness, on the labels' device.
    """
    rows = torch.randperm(len(labels), generator=made, device=labels.device)
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

    def __init__(self, settings: Settings, backbone: Backbone, n_classes: int) -> None:
        super().__init__(settings, backbone, n_classes)
        self.settings = settings

    @abstractmethod
    def decide(self, features: Tensor, memory: Any, labels: Tensor, excluded: Tensor | None = None) -> Tensor:
        """Log-probabilities (B, C).

        Args:
            features: (B, D) of the queries.
            memory: (M, D) in training; what `prepared` gives at inference.
            labels: (M,) of the memory.
            excluded: (B, M) true where a query may not use a memory row.
        """

    # Training -------------------------------------------------------------------------------------

    def check_training(self, pool: Pool) -> None:
        """A query needs something else than itself in the memory."""
        wanted = self.settings.memory
        if wanted.exclude_queries and min(wanted.size, len(pool.labels)) < 2:
            raise LookalikeError(
                f"a memory of {min(wanted.size, len(pool.labels))} image may hold the query alone, which it must not "
                "use; write memory: {size: 2} or more, or memory: {exclude_queries: false}."
            )

    def training_loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Negative log-likelihood of the batch under a new memory.

        Batch and memory pass the network one after the other, so that batch normalisation sees each by itself, as in
        the paper's code.
        """
        wanted = self.settings.memory
        rows = draw_memory(batch.pool.labels, wanted.size, wanted.balanced, batch.generators["support"])
        features = self.embed(batch.images)
        memory = self.embed(batch.pool.take(rows, batch.generators["augment"]))
        excluded = batch.rows[:, None] == rows if wanted.exclude_queries else None
        log_probs = self.decide(features, memory, batch.pool.labels[rows], excluded)
        return torch.nn.functional.nll_loss(log_probs, batch.labels), log_probs

    # Inference ------------------------------------------------------------------------------------

    def build_support(self, support: Embedded, seed: int) -> None:
        """Draw the memories of inference from the training subset."""
        wanted = self.settings.memory
        rows = torch.stack(
            [
                draw_memory(
                    support.labels, wanted.size, wanted.balanced, generator(derive_seed(seed, "memory", number))
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

    def predict(self, queries: Embedded, mode: str) -> Prediction:
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
            LookalikeError: the mode is unknown.
        """
        if mode not in ("cached", "draws"):
            raise LookalikeError(f"mode {mode!r} is unknown; a method with a memory has cached and draws.")
        return self.settings.inference.draws if mode == "draws" else 1
