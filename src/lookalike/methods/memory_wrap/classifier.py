"""Memory Wrap as a classifier of the workflow: training, explanations, and how good those are.

A memory image takes its part in an explanation by its weight and by the class that the model gives to it when it is the
query and another memory is used: of the predicted class, it is an example; of another, a counterfactual.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from lookalike.contracts.backbone import Backbone
from lookalike.contracts.explanation import Explanation, build_explanations
from lookalike.contracts.features import Features
from lookalike.core.determinism import make_generator
from lookalike.core.seeds import derive_seed
from lookalike.methods.memory.classifier import QUERIES_PER_BLOCK, MemoryClassifier
from lookalike.methods.memory_wrap import RANKINGS
from lookalike.methods.memory_wrap.attribution import explain_by_gradients
from lookalike.methods.memory_wrap.layer import MLP, BaselineMemory, Memory, MemoryWrapLayer
from lookalike.methods.memory_wrap.scores import (
    closest_example,
    input_non_representativeness,
    majority_vote,
    prediction_non_representativeness,
    squared_distances,
)
from lookalike.methods.memory_wrap.settings import MemoryWrapSettings


class MemoryWrapClassifier(MemoryClassifier):
    """Backbone and Memory Wrap's layer."""

    LAYER: type[MemoryWrapLayer] | type[BaselineMemory] = MemoryWrapLayer
    settings: MemoryWrapSettings

    def __init__(self, settings: MemoryWrapSettings, backbone: Backbone, n_classes: int) -> None:
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
    def query_metrics(self, queries: Features, mode: str) -> dict[str, Tensor]:
        """Columns (K, B) of predictions.parquet, one row of them a memory.

        `used`: memory images with a weight. `top_predicted`: the class given to the heaviest. `vote_predicted`,
        `vote_label`: majority of the used ones' given and true classes. `has_example`: whether any memory image got the
        query's class. `input_<ranking>`, `prediction_<ranking>`: non-representativeness of the best such image, ranked
        by weight (`memory`), by distance of the hidden layer (`knn`, the paper's kNN*), by its part in the logit
        (`twin`, the paper's CHP), or at random; without one, of the best-ranked image, as the original does silently.
        """
        rows = []
        for number in range(self.memories(mode)):
            shuffle = make_generator(derive_seed("random candidates", number))
            parts = [
                self._query_metrics(part, number, shuffle) for part in queries.features.cpu().split(QUERIES_PER_BLOCK)
            ]
            rows.append({name: torch.cat([part[name] for part in parts]) for name in parts[0]})
        return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}

    def _query_metrics(self, features: Tensor, number: int, shuffle: torch.Generator) -> dict[str, Tensor]:
        memory, memory_logits, memory_hidden = self._ask_memory(number)
        weights = self.layer.content_weights(features, memory)
        hidden = self.layer.hidden(features, memory, weights)
        logits = self._last(hidden)
        predicted, memory_predicted = logits.argmax(1), memory_logits.argmax(1)
        columns = {
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
            chosen, columns["has_example"] = closest_example(order, predicted, memory_predicted)
            examples = memory_logits[chosen]
            columns[f"input_{ranking}"] = input_non_representativeness(logits, examples)
            columns[f"prediction_{ranking}"] = prediction_non_representativeness(logits, examples)
        return columns

    # Explanation ----------------------------------------------------------------------------------

    @torch.no_grad()
    def explain(self, queries: Features, mode: str) -> list[Explanation]:
        """The memory images that a query used, the heaviest first, each with the class the model gives to it."""
        memory, memory_logits, _ = self._ask_memory(0)
        weights = self.layer.content_weights(queries.features.cpu(), memory)
        shape = weights.shape
        records = build_explanations(
            queries,
            self.predict(queries, mode),
            mode,
            self.memory["ids"][0].expand(shape),
            self.memory["labels"][0].expand(shape),
            weights,
            predicted=memory_logits.argmax(1).expand(shape),
        )
        return [replace(r, exemplars=[e for e in r.exemplars if e.weight > 0]) for r in records]

    def add_attributions(
        self, records: list[Explanation], load: Callable[[list[int]], Tensor], ends: tuple[Tensor, Tensor]
    ) -> list[Explanation]:
        """Integrated gradients on each query, its example and its counterfactual."""
        options = self.settings.inference.attribution
        if options is None:
            return records
        black, white = ends
        baseline = {"black": black, "white": white, "upstream": torch.ones_like(white)}[options.baseline]
        device = next(self.backbone.parameters()).device

        def embed(images: Tensor) -> Tensor:
            return self.embed(images.to(device)).cpu()

        return [explain_by_gradients(embed, self.layer, record, load, baseline, options.steps) for record in records]


class BaselineMemoryClassifier(MemoryWrapClassifier):
    """Backbone and the layer that sees memory vectors only: the paper's "only memory"."""

    LAYER = BaselineMemory
