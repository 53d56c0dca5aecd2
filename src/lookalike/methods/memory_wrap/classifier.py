"""Memory Wrap as a classifier of the workflow: training, explanations, and how good those are.

A memory image takes its part in an explanation by its weight and by the class that the model gives to it when it is the
query and another memory is used: of the predicted class, it is an example; of another, a counterfactual.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from lookalike.backbones.base import Backbone
from lookalike.determinism import generator
from lookalike.evaluation.agreement import RANKINGS
from lookalike.explanation.record import Explanation, exemplars
from lookalike.methods import memory
from lookalike.methods.base import Embedded
from lookalike.methods.memory import QUERIES_PER_BLOCK
from lookalike.methods.memory_wrap.attribution import explain_by_gradients
from lookalike.methods.memory_wrap.layer import MLP, BaselineMemory, Memory, MemoryWrapLayer
from lookalike.methods.memory_wrap.measures import (
    closest_example,
    input_non_representativeness,
    majority_vote,
    prediction_non_representativeness,
    squared_distances,
)
from lookalike.seeds import derive_seed
from lookalike.settings import Settings as BaseSettings


class HeatMaps(BaseSettings):
    """Integrated gradients on the query and on the memory images it used."""

    baseline: Literal["white", "black", "upstream"] = Field(
        "white", description="Image that stands for nothing; `upstream` is 1 in normalised values, a grey."
    )
    steps: Annotated[int, Field(ge=1)] = Field(
        40, description="Gauss-Legendre nodes to begin with; more follow where the map does not add up."
    )


class CounterfactualSettings(BaseSettings):
    """Scoring counterfactuals by autoencoders of each class (IM1, IM2), beside a prototype-guided search."""

    queries: Annotated[int, Field(ge=1)] = Field(256, description="Queries scored, of the test images in random order.")
    epochs: Annotated[int, Field(ge=1)] = Field(4, description="Epochs of each autoencoder.")
    iterations: Annotated[int, Field(ge=1)] = Field(1000, description="Steps of the search.")


class Inference(memory.Inference):
    """Memories and explanations at inference."""

    heat_maps: HeatMaps | None = Field(HeatMaps(), description="null for none.")
    counterfactuals: CounterfactualSettings | None = Field(None, description="{} to score them with the defaults.")


class Settings(memory.Settings):
    """Study entry of `memory_wrap`."""

    method: Literal["memory_wrap"]
    explain: tuple[Literal["cached"], ...] = ("cached",)
    distance: Literal["cosine", "l2", "dot"] = "cosine"
    inference: Inference = Inference()


class Model(memory.MemoryClassifier):
    """Backbone and Memory Wrap's layer."""

    LAYER: type[MemoryWrapLayer] | type[BaselineMemory] = MemoryWrapLayer
    settings: Settings

    def __init__(self, settings: Settings, backbone: Backbone, n_classes: int) -> None:
        super().__init__(settings, backbone, n_classes)
        self.layer = self.LAYER(backbone.dim, n_classes, distance=settings.distance)

    def prepared(self, number: int) -> Memory:
        """A memory with its half of the first linear layer."""
        return self._ask_memory(number)[0]

    def decide(
        self, features: Tensor, memory: Tensor | Memory, labels: Tensor, excluded: Tensor | None = None
    ) -> Tensor:
        """Log-softmax of the layer; the memory's labels take no part."""
        logits = self.layer(features, memory, excluded=excluded)
        assert isinstance(logits, Tensor)
        return F.log_softmax(logits.float(), dim=1)

    def load_support(self, tensors: dict[str, Tensor]) -> None:
        """Take the store's tensors, and what the model says of each memory image with the next memory."""
        super().load_support(tensors)
        features, ids = self.memory["features"], self.memory["ids"]
        self._asked: dict[int, tuple[Memory, Tensor, Tensor]] = {}
        self._others = [(features[k + 1], ids[k][:, None] == ids[k + 1]) for k in range(len(features) - 1)]

    @torch.no_grad()
    def _ask_memory(self, number: int) -> tuple[Memory, Tensor, Tensor]:
        """A prepared memory, and its images as queries of the next one: logits (M, C) and hidden layer (M, H)."""
        if number not in self._asked:
            images = self.memory["features"][number]
            other, itself = self._others[number]
            # No image may answer for itself; where the next memory is that image alone, it must.
            itself = itself & ~itself.all(1, keepdim=True)
            weights = self.layer.content_weights(images, other, itself)
            hidden = self.layer.hidden(images, other, weights)
            self._asked[number] = (self.layer.remember(images), self._last(hidden), hidden)
        return self._asked[number]

    def _last(self, hidden: Tensor) -> Tensor:
        assert isinstance(self.layer.classifier, MLP)
        logits: Tensor = self.layer.classifier.fc2(hidden)
        return logits

    # How good the explanations are ----------------------------------------------------------------

    @torch.no_grad()
    def measures(self, queries: Embedded, mode: str) -> dict[str, Tensor]:
        """Columns (K, B) of predictions.parquet, one row of them a memory.

        `used`: memory images with a weight. `top_predicted`: the class given to the heaviest. `vote_predicted`,
        `vote_label`: majority of the used ones' given and true classes. `has_example`: whether any memory image got the
        query's class. `input_<ranking>`, `prediction_<ranking>`: non-representativeness of the best such image, ranked
        by weight (`memory`), by distance of the hidden layer (`knn`, the paper's kNN*), by its part in the logit
        (`twin`, the paper's CHP), or at random; without one, of the best-ranked image, as the original does silently.
        """
        rows = []
        for number in range(self.memories(mode)):
            shuffle = generator(derive_seed("random candidates", number))
            parts = [self._measures(part, number, shuffle) for part in queries.features.cpu().split(QUERIES_PER_BLOCK)]
            rows.append({name: torch.cat([part[name] for part in parts]) for name in parts[0]})
        return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}

    def _measures(self, features: Tensor, number: int, shuffle: torch.Generator) -> dict[str, Tensor]:
        memory, memory_logits, memory_hidden = self._ask_memory(number)
        weights = self.layer.content_weights(features, memory)
        hidden = self.layer.hidden(features, memory, weights)
        logits = self._last(hidden)
        predicted, memory_predicted = logits.argmax(1), memory_logits.argmax(1)
        found = {
            "used": (weights > 0).sum(1),
            "top_predicted": memory_predicted[weights.argmax(1)],
            "vote_predicted": majority_vote(weights, memory_predicted, self.n_classes),
            "vote_label": majority_vote(weights, self.memory["labels"][number], self.n_classes),
        }
        assert isinstance(self.layer.classifier, MLP)
        parts = self.layer.classifier.fc2.weight[predicted]  # (B, H)
        costs = {
            "memory": -weights,
            "knn": squared_distances(hidden, memory_hidden),
            "twin": squared_distances(hidden, memory_hidden, parts),
            "random": torch.rand(weights.shape, generator=shuffle),
        }
        for ranking in RANKINGS:
            order = costs[ranking].argsort(dim=1, stable=True)
            chosen, found["has_example"] = closest_example(order, predicted, memory_predicted)
            examples = memory_logits[chosen]
            found[f"input_{ranking}"] = input_non_representativeness(logits, examples)
            found[f"prediction_{ranking}"] = prediction_non_representativeness(logits, examples)
        return found

    # Explanation ----------------------------------------------------------------------------------

    @torch.no_grad()
    def explain(self, queries: Embedded, mode: str) -> list[Explanation]:
        """The memory images that a query used, the heaviest first, each with the class the model gives to it."""
        memory, memory_logits, _ = self._ask_memory(0)
        weights = self.layer.content_weights(queries.features.cpu(), memory)
        shape = weights.shape
        records = exemplars(
            queries,
            self.predict(queries, mode),
            mode,
            self.memory["ids"][0].expand(shape),
            self.memory["labels"][0].expand(shape),
            weights,
            predicted=memory_logits.argmax(1).expand(shape),
        )
        return [replace(r, exemplars=[e for e in r.exemplars if e.weight > 0]) for r in records]

    def add_heat_maps(
        self, records: list[Explanation], take: Callable[[list[int]], Tensor], ends: tuple[Tensor, Tensor]
    ) -> list[Explanation]:
        """Integrated gradients on each query, its example and its counterfactual."""
        wanted = self.settings.inference.heat_maps
        if wanted is None:
            return records
        black, white = ends
        baseline = {"black": black, "white": white, "upstream": torch.ones_like(white)}[wanted.baseline]
        device = next(self.backbone.parameters()).device

        def embed(images: Tensor) -> Tensor:
            return self.embed(images.to(device)).cpu()

        return [explain_by_gradients(embed, self.layer, record, take, baseline, wanted.steps) for record in records]
