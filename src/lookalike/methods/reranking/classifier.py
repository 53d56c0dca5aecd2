"""Re-ranking: the nearest training images, ordered anew by what their patches have in common, vote.

Methods differ in how they compare two images. The comparison belongs to the embedding of queries: it needs the network,
the images and perhaps a GPU, and every evaluation afterwards is a vote over stored scores. Queries come in the order of
their nearest neighbours' class, so that a gallery too large for memory is prepared about once all the same: queries of
a class share their exemplars.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from lookalike.contracts.backbone import Backbone
from lookalike.contracts.classifier import Classifier, Prediction
from lookalike.contracts.explanation import SHOWN_EXEMPLARS, Exemplar, Explanation, build_explanations
from lookalike.contracts.features import Features, ImageAccess
from lookalike.core.errors import LookalikeError
from lookalike.core.finite import check_finite
from lookalike.core.tensor_store import load_tensors, save_tensors
from lookalike.distances.pairwise import normalise_rows
from lookalike.methods.knn.classifier import nearest_rows, vote
from lookalike.methods.reranking.gallery import Gallery
from lookalike.methods.reranking.settings import RerankingSettings

BLOCK_BYTES = 1 << 28  # of temporaries, whatever the number of queries and exemplars
Tensors = dict[str, Tensor]
Role = Literal["query", "exemplar"]


@dataclass(frozen=True)
class Correspondences:
    """For each of K exemplars, where each query patch goes.

    Attributes:
        target: (K, R) exemplar patch that each query patch goes to.
        weight: (K, R) how much each pair counts; pairs of 0 do not.
        query_map: (K, R) cross-correlation of each query patch with the exemplar.
        exemplar_map: (K, R) cross-correlation of each exemplar patch with the query.
        grid: Rows and columns of patches.
    """

    target: Tensor
    weight: Tensor
    query_map: Tensor
    exemplar_map: Tensor
    grid: tuple[int, int]


class Reranker(Classifier):
    """Base of methods that order nearest candidates anew.

    Args:
        settings: The model's entry of the study.
        backbone: The frozen network.
        n_classes: Number of classes C.
    """

    def __init__(self, settings: RerankingSettings, backbone: Backbone, n_classes: int) -> None:
        super().__init__(settings, backbone, n_classes)
        self.settings, self.inference = settings, settings.inference
        self.upstream = settings.compat == "upstream"
        self.gallery: Gallery | None = None

    @abstractmethod
    def prepare(self, images: Tensor, role: Role) -> Tensors:
        """What is needed of normalised images (n, C, H, W) to compare them; named tensors (n, ...)."""

    @abstractmethod
    def scores(self, queries: Tensors, candidates: Tensors, key_points: Tensor | None) -> Tensors:
        """Similarity of B queries and their K candidates, higher is better.

        Args:
            queries: Prepared queries (B, ...).
            candidates: Prepared candidates (B, K, ...).
            key_points: (B, P, 3) key points of the queries: x and y between 0 and 1, visibility; None without.

        Returns:
            Mode -> (B, K) similarities.
        """

    @abstractmethod
    def correspondences(self, query: Tensors, candidates: Tensors) -> Correspondences:
        """How the patches of one query (1, ...) and its K candidates (K, ...) belong together."""

    @abstractmethod
    def carry(self, query: Tensors, candidates: Tensors, points: Tensor) -> Tensor:
        """Key points (P, 2) of one query, x and y between -1 and 1, in its K candidates (K, P, 2)."""

    @abstractmethod
    def bytes_per_pair(self, query: Tensors) -> int:
        """Bytes of the largest temporaries of a comparison."""

    def build_support(self, support: Features, seed: int) -> None:
        """Keep unit features, labels and ids of the training subset.

        Raises:
            LookalikeError: There are more candidates than training images.
        """
        if len(support) < self.inference.n_candidates:
            raise LookalikeError(
                f"inference.n_candidates is {self.inference.n_candidates} but the training subset has {len(support)} "
                f"images; write inference: {{n_candidates: {len(support)}, k: {min(self.inference.k, len(support))}}}."
            )
        self.load_support({"features": normalise_rows(support.features), "labels": support.labels, "ids": support.ids})

    def support_tensors(self) -> Tensors:
        """Unit features (N, D), labels (N,), ids (N,)."""
        return {"features": self.features, "labels": self.labels, "ids": self.ids}

    def load_support(self, tensors: Tensors) -> None:
        """Take the store's tensors."""
        self.features = tensors["features"].cpu()
        self.labels, self.ids = tensors["labels"].cpu(), tensors["ids"].cpu()

    def open_gallery(self, images: ImageAccess, path: Path, origin: dict[str, str]) -> None:
        """Prepare the training images, or take them from `path`, or prepare them when they are compared.

        Args:
            images: The training subset.
            path: File that keeps them between calls, where all fit into `gallery_gb`.
            origin: Hashes of what they follow from; a file of others is written anew.
        """
        try:
            kept = load_tensors(path, origin) if path.exists() else None
        except LookalikeError:
            kept = None
        budget = int(self.inference.gallery_gb * 1e9)
        if kept is not None and sum(value.nbytes for value in kept.values()) > budget:
            kept = None
        if kept is not None:
            device = next(self.backbone.parameters()).device
            kept = {name: value.to(device) for name, value in kept.items()}
        with torch.no_grad():
            self.gallery = Gallery(
                lambda rows: self.prepare(images.load(rows), "exemplar"), len(self.labels), budget, kept
            )
            complete = self.gallery.complete() if kept is None else None
        if complete is not None:
            save_tensors(path, {name: value.cpu() for name, value in complete.items()}, origin)

    @torch.no_grad()
    def match_queries(self, queries: Features, images: ImageAccess) -> Features:
        """Queries with `rows` (B, K) of their candidates, nearest first, and `scores_<mode>` (B, K)."""
        assert self.gallery is not None, "open_gallery comes first"
        rows = nearest_rows(queries, self.features, self.labels, self.inference.n_candidates)
        order = self.labels[rows[:, 0]].argsort(stable=True)
        parts: dict[str, list[Tensor]] = {}
        block = 1
        start = 0
        while start < len(order):
            batch = order[start : start + block]
            prepared = self.prepare(images.load(batch), "query")
            if start == 0:
                most = min(256, self.gallery.capacity // rows.shape[1])
                block = max(1, min(most, BLOCK_BYTES // (rows.shape[1] * self.bytes_per_pair(prepared))))
            flat = self.gallery.load(rows[batch].flatten())
            candidates = {name: value.unflatten(0, (len(batch), -1)) for name, value in flat.items()}
            for mode, score in self.scores(prepared, candidates, images.key_points_of(batch)).items():
                parts.setdefault(f"scores_{mode}", []).append(score.float().cpu())
            start += len(batch)
        back = order.argsort()
        scores = {name: torch.cat(values)[back] for name, values in parts.items()}
        for name, values in scores.items():  # NaN would be the best of all
            check_finite(
                values,
                f"similarities of patches ({name.removeprefix('scores_')})",
                lambda row: f"image {int(queries.ids[row])}",
                "its patches, or those of a candidate, may be all zero; take another network, or no compat",
            )
        return replace(queries, match_scores={"rows": rows, **scores})

    def _ranked(self, queries: Features, mode: str) -> tuple[Tensor, Tensor]:
        """Rows (B, K) of the candidates, best first, and their scores; equal scores stay in the order of kNN."""
        scores = queries.match_scores[f"scores_{mode}"]
        order = scores.argsort(dim=1, descending=True, stable=True)
        return queries.match_scores["rows"].gather(1, order), scores.gather(1, order)

    def predict(self, queries: Features, mode: str) -> Prediction:
        """Log of the shares of the votes of the best; -inf for a class without one."""
        rows, _ = self._ranked(queries, mode)
        return Prediction(vote(self.labels[rows[:, : self.inference.k]], self.n_classes).log().float())

    def explain(self, queries: Features, mode: str) -> list[Explanation]:
        """The images that voted, best first, each with weight 1/k; and the nearest ones that would have voted."""
        k = self.inference.k
        rows, scores = (values[:, :k] for values in self._ranked(queries, mode))
        weights = torch.full(rows.shape, 1 / k)
        records = build_explanations(
            queries, self.predict(queries, mode), mode, self.ids[rows], self.labels[rows], weights, similarity=scores
        )
        nearest = queries.match_scores["rows"][:, :k]
        before = Prediction(vote(self.labels[nearest], self.n_classes).log())
        others = build_explanations(queries, before, mode, self.ids[nearest], self.labels[nearest], weights)
        return [
            replace(record, nearest=[e for e in other.exemplars if e.label == other.predicted][:SHOWN_EXEMPLARS])
            for record, other in zip(records, others, strict=True)
        ]

    @torch.no_grad()
    def add_correspondences(
        self, records: list[Explanation], queries: Features, load: Callable[[list[int]], Tensor]
    ) -> list[Explanation]:
        """Records whose shown exemplars tell where each query patch goes."""
        complete = []
        for record, rows in zip(records, queries.match_scores["rows"], strict=True):
            # Under compat a plan depends on all candidates.
            ids = self.ids[rows].tolist() if self.upstream else [e.id for e in record.shown]
            query = self.prepare(load([record.query]), "query")
            parts = [self.prepare(load(some), "exemplar") for some in _split(ids, 64)]
            candidates = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
            pairs = self.correspondences(query, candidates)
            place = {image: number for number, image in enumerate(ids)}
            shown = {exemplar.id for exemplar in record.shown}
            exemplars = [
                _with_pairs(exemplar, pairs, place[exemplar.id]) if exemplar.id in shown else exemplar
                for exemplar in record.exemplars
            ]
            complete.append(replace(record, exemplars=exemplars, grid=list(pairs.grid)))
        return complete


def _with_pairs(exemplar: Exemplar, pairs: Correspondences, number: int) -> Exemplar:
    return replace(
        exemplar,
        target=pairs.target[number].tolist(),
        target_weight=pairs.weight[number].tolist(),
        correlation=[pairs.query_map[number].tolist(), pairs.exemplar_map[number].tolist()],
    )


def _split(values: list[int], size: int) -> list[list[int]]:
    return [values[start : start + size] for start in range(0, len(values), size)]
