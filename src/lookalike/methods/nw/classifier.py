"""The NW classifier: a backbone, the NW head, and the supports it compares queries with.

Training draws a small class-balanced support each step; inference uses the training subset in one of several modes
(docs/algorithms/nw_head.md, sections 5 to 7).
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lookalike.contracts.backbone import Backbone
from lookalike.contracts.classifier import Batch, Classifier, Prediction
from lookalike.contracts.explanation import Explanation, build_explanations
from lookalike.contracts.features import Features, TrainingImages
from lookalike.core.determinism import make_generator
from lookalike.core.errors import LookalikeError
from lookalike.core.seeds import derive_seed
from lookalike.distances import NeighbourDistance
from lookalike.distances.centroids import class_centroids, closest_rows
from lookalike.distances.neighbours import build_hnsw, nearest, search_hnsw
from lookalike.distances.pairwise import normalise_rows
from lookalike.methods.nw.head import NWHead, Support, class_balance
from lookalike.methods.nw.influence import support_influence
from lookalike.methods.nw.sampling import SupportSampler, balanced_rows, rows_per_class, upstream_draw
from lookalike.methods.nw.settings import MODES, NWSettings

UPSTREAM_FLOOR = 1e-12
SHOWN_BY_WEIGHT, SHOWN_BY_INFLUENCE = 10, 5
QUERIES_PER_BLOCK = 256
STREAMED_ROWS, STREAM_BLOCK = 1 << 16, 2048  # larger supports are walked in blocks: memory stays at 2 MB


class NWClassifier(Classifier):
    """Backbone, optional projection and NW head."""

    def __init__(self, settings: NWSettings, backbone: Backbone, n_classes: int) -> None:
        super().__init__(settings, backbone, n_classes)
        self.settings = settings
        self.upstream = settings.compat == "upstream"
        self.projection = nn.Linear(backbone.dim, settings.proj_dim) if settings.proj_dim else nn.Identity()
        self.head = NWHead(
            n_classes,
            settings.kernel,
            settings.temperature,
            settings.learn_temperature,
            UPSTREAM_FLOOR if self.upstream else 0.0,
        )
        self._sampler: SupportSampler | None = None

    def embed_on(self, device: torch.device) -> None:
        """Backbone and projection."""
        super().embed_on(device)
        self.projection.to(device)

    def embed(self, images: Tensor) -> Tensor:
        """Projected features (B, D)."""
        features: Tensor = self.projection(self.backbone(images))
        return features

    # Training -------------------------------------------------------------------------------------

    def check_training(self, pool: TrainingImages) -> None:
        """Set up the sampler, which checks the class sizes."""
        episodes = self.settings.episodes
        self._sampler = SupportSampler(
            pool.labels,
            self.n_classes,
            episodes.n_shot,
            episodes.n_way,
            episodes.exclude_queries and not self.upstream,
            pool.environments if episodes.environment == "single" else None,
        )
        batch_size = self.settings.training.batch_size
        if self.upstream and episodes.n_way is not None and episodes.n_way < batch_size:
            raise LookalikeError(
                f"compat: upstream needs episodes.n_way of at least training.batch_size, but {episodes.n_way} is less "
                f"than {batch_size}; write training: {{batch_size: {episodes.n_way}}} or less."
            )

    def training_loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Mean negative log-likelihood of the queries under one support shared by the batch.

        Queries and support pass the backbone together, queries first, so that batch statistics are
        shared. A query never sees its own image. Queries whose class has no other row (a single
        environment, a batch as large as the subset) carry no information and are left out; the original adds
        a constant for them.
        """
        if self._sampler is None:
            self.check_training(batch.pool)
        rows = self._draw(batch)
        support = batch.pool.load(rows, batch.generators["augment"])
        features = self.embed(torch.cat([batch.images, support]))
        labels = batch.pool.labels[rows]
        scores = self.head.scores(features[: len(batch.labels)], features[len(batch.labels) :])
        usable = torch.ones_like(scores, dtype=torch.bool)
        if self.settings.episodes.exclude_queries and not self.upstream:
            usable = batch.rows[:, None] != rows
            scores = scores.masked_fill(~usable, -math.inf)
        log_probs = self.head.from_scores(scores, labels)
        scored = ((batch.labels[:, None] == labels) & usable).any(1)
        if self.upstream or bool(scored.all()):
            return F.nll_loss(log_probs, batch.labels), log_probs
        log_probs = log_probs.clamp_min(math.log(UPSTREAM_FLOOR))
        if not bool(scored.any()):
            return log_probs.sum() * 0, log_probs
        return F.nll_loss(log_probs[scored], batch.labels[scored]), log_probs

    def _draw(self, batch: Batch) -> Tensor:
        assert self._sampler is not None
        if not self.upstream or self.settings.episodes.environment == "single":
            return self._sampler.draw(batch.rows, batch.generators["support"])
        seed = batch.generators["support"].initial_seed() % 2**32
        rows = upstream_draw(
            np.random.RandomState(seed),
            batch.pool.labels.cpu().numpy(),
            batch.labels.cpu().numpy(),
            self.settings.episodes.n_shot,
            self.settings.episodes.n_way,
        )
        return torch.from_numpy(rows).to(batch.labels.device)

    # Supports at inference ------------------------------------------------------------------------

    def build_support(self, support: Features, seed: int) -> None:
        """Full support, centroids, closest images, one random draw and the HNSW index.

        Raises:
            LookalikeError: A class has no image.
        """
        missing = (torch.bincount(support.labels, minlength=self.n_classes) == 0).nonzero().flatten()
        if len(missing):
            raise LookalikeError(
                f"class {int(missing[0])} has no image in the support; use a larger size or leave the class out."
            )
        inference = self.settings.inference
        if self.upstream:
            support = support.rows(balanced_rows(support.labels, support.environments, inference.n_shot_full))
        features, labels = support.features, support.labels
        restarts = 1 if self.upstream else 10
        centroids, of_class = class_centroids(features, labels, inference.n_clusters, 0, restarts)
        generator = make_generator(derive_seed(seed, "random support"))
        self.load_support(
            {
                "features": features,
                "labels": labels,
                "environments": support.environments,
                "ids": support.ids,
                "centroids": centroids,
                "centroid_labels": of_class,
                "closest": closest_rows(features, labels, centroids, of_class),
                "random": rows_per_class(labels, inference.n_random, generator),
                "hnsw": build_hnsw(self._search_space(features), self._distance()),
            }
        )

    def support_tensors(self) -> dict[str, Tensor]:
        """Everything `build_support` made."""
        return self._tensors

    def load_support(self, tensors: dict[str, Tensor]) -> None:
        """Take the store's tensors."""
        self._tensors = {name: value.cpu() for name, value in tensors.items()}
        self._full = self._support_of(slice(None))

    def _support_of(self, rows: Tensor | slice) -> Support:
        """Some rows of the full support; unequal classes are corrected for by their size."""
        return self._balanced(self._tensors["features"][rows], self._tensors["labels"][rows])

    def _balanced(self, features: Tensor, labels: Tensor) -> Support:
        sizes = torch.bincount(labels, minlength=self.n_classes)
        sizes = sizes[sizes > 0]
        balanced = self.upstream or bool((sizes == sizes[0]).all())
        return Support.of(features, labels, None if balanced else class_balance(labels, self.n_classes))

    def _distance(self) -> NeighbourDistance:
        return "dot" if self.settings.kernel == "dot" and not self.upstream else "l2"

    def _search_space(self, features: Tensor) -> Tensor:
        """Features whose nearest rows are those of largest score; the original always takes plain ones."""
        angular = self.settings.kernel in ("cosine", "clip", "hypersphere_euclidean")
        return normalise_rows(features) if angular and not self.upstream else features

    def neighbours(self, features: Tensor, mode: str) -> Tensor:
        """(B, k) support rows of modes knn (exact) and hnsw (approximate), nearest first."""
        k = self.settings.inference.n_neighbors
        rows = len(self._tensors["labels"])
        if k > rows:
            raise LookalikeError(
                f"inference.n_neighbors is {k} but the support has {rows} rows; write n_neighbors: {rows} or less."
            )
        queries = self._search_space(features)
        indices = torch.full((len(features), k), -1)
        if mode == "hnsw":
            indices = search_hnsw(self._tensors["hnsw"], queries, k)
        exact = (indices < 0).any(1)  # all of mode knn, and what the graph did not reach
        if bool(exact.any()):
            space = self._search_space(self._tensors["features"])
            indices[exact] = nearest(queries[exact], space, k, self._distance())[1]
        return indices

    # Inference ------------------------------------------------------------------------------------

    def predict(self, queries: Features, mode: str) -> Prediction:
        """Log-probabilities under the support of `mode`; each query on its own except in compat knn and hnsw.

        Raises:
            LookalikeError: The mode is unknown.
        """
        features = queries.features.cpu()
        return Prediction(torch.cat([self._predict(part, mode) for part in features.split(QUERIES_PER_BLOCK)]))

    def _predict(self, features: Tensor, mode: str) -> Tensor:
        if mode == "full":
            if len(self._full.labels) > STREAMED_ROWS and not features.requires_grad:
                return self.head.stream(features, self._full.split(STREAM_BLOCK))
            return self.head(features, self._full)
        if mode in ("random", "closest_cluster"):
            return self.head(features, self._support_of(self._shared_rows(mode)))
        if mode == "cluster":
            return self.head(features, self._balanced(self._tensors["centroids"], self._tensors["centroid_labels"]))
        if mode == "ensemble":
            environments = self._tensors["environments"]
            parts = [self._support_of(environments == value) for value in environments.unique()]
            log_probs = torch.stack([self.head(features, part) for part in parts])
            return log_probs.logsumexp(0) - math.log(len(parts))
        if mode in ("knn", "hnsw"):
            rows = self.neighbours(features.detach(), mode)
            if self.upstream:  # the original joins the neighbours of all queries of a batch
                rows = rows.flatten().expand(len(features), -1)
            return self.head.from_scores(self._scores_of(features, rows), self._tensors["labels"][rows])
        raise LookalikeError(f"mode {mode!r} is unknown; nw has {', '.join(MODES)}.")

    def _scores_of(self, features: Tensor, rows: Tensor) -> Tensor:
        """(B, k) scores of each query's own rows (B, k), class sizes corrected for as in mode full."""
        scores = self.head.scores(features, self._tensors["features"][rows])
        return scores if self._full.log_prior is None else scores + self._full.log_prior[rows]

    def _shared_rows(self, mode: str) -> Tensor:
        """Rows of the full support that a mode shares between all queries."""
        if mode == "closest_cluster":
            return self._tensors["closest"]
        if mode == "random":
            return self._tensors["random"]
        return torch.arange(len(self._tensors["labels"]))

    # Explanation ----------------------------------------------------------------------------------

    @torch.no_grad()
    def explain(self, queries: Features, mode: str) -> list[Explanation]:
        """The ten heaviest support images of each query, and the five most helpful and most harmful.

        Influence is measured on the true label. Modes whose support rows are no images (`cluster`) or
        which average several supports (`ensemble`) have no such record.
        """
        features = queries.features.cpu()
        if mode in ("knn", "hnsw"):
            rows = self.neighbours(features, mode)
            weights = self._scores_of(features, rows).softmax(1)
        elif mode in ("full", "random", "closest_cluster"):
            shared = self._shared_rows(mode)
            weights = self.head.weights(features, self._support_of(shared))
            rows = shared.expand(len(queries), -1)
        else:
            return []
        labels = self._tensors["labels"][rows]
        influence = support_influence(weights, labels, queries.labels)
        shown = _extremes(weights, influence)
        ids = self._tensors["ids"][rows]
        return build_explanations(
            queries,
            self.predict(queries, mode),
            mode,
            *(values.gather(1, shown) for values in (ids, labels, weights, influence)),
        )


def _extremes(weights: Tensor, influence: Tensor) -> Tensor:
    """(B, n) columns of the heaviest, the most helpful and the most harmful rows; some may repeat."""
    n = weights.shape[1]
    few = min(SHOWN_BY_INFLUENCE, n)
    return torch.cat(
        [
            weights.topk(min(SHOWN_BY_WEIGHT, n)).indices,
            influence.topk(few).indices,
            influence.topk(few, largest=False).indices,
        ],
        dim=1,
    )
