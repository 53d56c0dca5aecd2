"""Re-ranking: the nearest training images, ordered anew by what their patches have in common, vote.

What EMD-Corr and CHM-Corr share (Nguyen, Taesiri and Nguyen, NeurIPS 2022): the shortlist by pooled features, the vote
of the best of it, and the explanation by patch pairs. They differ in how they compare two images.

The comparison belongs to the embedding of queries: it needs the network, the images and perhaps a GPU, and every
evaluation afterwards is a vote over stored scores. Queries come in the order of their nearest neighbours' class, so
that a gallery too large for memory is made about once all the same: queries of a class share their exemplars.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from lookalike.backbones.base import Backbone
from lookalike.errors import LookalikeError
from lookalike.explanation.record import SHOWN_EXEMPLARS, Exemplar, Explanation, exemplars
from lookalike.methods.base import Classifier, Embedded, Looks, MethodSettings, Prediction
from lookalike.methods.knn import nearest_rows, vote
from lookalike.settings import Settings as BaseSettings
from lookalike.support.gallery import Gallery
from lookalike.support.neighbours import normalise_rows
from lookalike.support.store import load_tensors, save_tensors

BLOCK_BYTES = 1 << 28  # of temporaries, whatever the number of queries and exemplars
Tensors = dict[str, Tensor]
Role = Literal["query", "exemplar"]
log = logging.getLogger(__name__)


class CorrespondenceScores(BaseSettings):
    """Scores of patch pairs: parts, warps, and what the vote owes to them."""

    queries: Annotated[int, Field(ge=1)] = Field(100, description="Queries that are scored.")


class RerankInference(BaseSettings):
    """Settings of shortlist and vote."""

    shortlist: Annotated[int, Field(ge=1)] = Field(50, description="Nearest training images that are compared.")
    voters: Annotated[int, Field(ge=1)] = Field(20, description="Best of them that vote.")
    compat: Literal["upstream"] | None = Field(
        None, description="`upstream` reproduces what the authors' code does where that differs from the paper."
    )
    gallery_gb: Annotated[float, Field(gt=0)] = Field(
        4, description="Memory for prepared training images; where they do not fit, the recently used are kept."
    )

    correspondences: CorrespondenceScores | None = Field(
        None, description="Score how right the patch pairs are; a stage of its own."
    )

    @model_validator(mode="after")
    def _voters_are_listed(self) -> RerankInference:
        if self.voters > self.shortlist:
            raise ValueError(f"voters is {self.voters}, but only the shortlist of {self.shortlist} is ranked")
        if self.correspondences is not None and self.voters + SHOWN_EXEMPLARS > self.shortlist:
            raise ValueError(
                f"correspondences take the {SHOWN_EXEMPLARS} exemplars shown away and let {self.voters} others vote; "
                f"shortlist must be {self.voters + SHOWN_EXEMPLARS} or more, not {self.shortlist}"
            )
        return self


@dataclass(frozen=True)
class Links:
    """For each of K exemplars, where each query patch goes.

    Attributes:
        partner: (K, R) exemplar patch.
        strength: (K, R) how much it counts; pairs of 0 do not.
        query_map, exemplar_map: (K, R) cross-correlation of each patch with the other image.
        grid: rows and columns of patches.
    """

    partner: Tensor
    strength: Tensor
    query_map: Tensor
    exemplar_map: Tensor
    grid: tuple[int, int]


class Reranker(Classifier):
    """Base of methods that order a shortlist anew.

    Args:
        settings: with `inference` of `RerankInference`.
        backbone: the frozen network.
        n_classes: C.
    """

    def __init__(
        self, settings: MethodSettings, inference: RerankInference, backbone: Backbone, n_classes: int
    ) -> None:
        super().__init__(settings, backbone, n_classes)
        self.inference = inference
        self.gallery: Gallery | None = None

    @abstractmethod
    def prepare(self, images: Tensor, role: Role) -> Tensors:
        """What is needed of normalised images (n, C, H, W) to compare them; named tensors (n, ...)."""

    @abstractmethod
    def scores(self, queries: Tensors, shortlists: Tensors, points: Tensor | None) -> Tensors:
        """Similarity of B queries and their K exemplars, higher is better.

        Args:
            queries: prepared, (B, ...).
            shortlists: prepared, (B, K, ...).
            points: (B, P, 3) key points of the queries: x and y between 0 and 1, visibility; None without.

        Returns:
            Mode -> (B, K).
        """

    @abstractmethod
    def links(self, query: Tensors, shortlist: Tensors) -> Links:
        """How the patches of one query (1, ...) and its K exemplars (K, ...) belong together."""

    @abstractmethod
    def carry(self, query: Tensors, shortlist: Tensors, points: Tensor) -> Tensor:
        """Key points (P, 2) of one query, x and y between -1 and 1, in its K exemplars (K, P, 2)."""

    @abstractmethod
    def bytes_per_pair(self, query: Tensors) -> int:
        """Largest temporaries of a comparison."""

    def build_support(self, support: Embedded, seed: int) -> None:
        """Keep unit features, labels and ids of the training subset.

        Raises:
            LookalikeError: the shortlist is longer than the subset.
        """
        if len(support) < self.inference.shortlist:
            raise LookalikeError(
                f"inference.shortlist is {self.inference.shortlist} but the training subset has {len(support)} images; "
                f"write inference: {{shortlist: {len(support)}, voters: {min(self.inference.voters, len(support))}}}."
            )
        self.load_support({"features": normalise_rows(support.features), "labels": support.labels, "ids": support.ids})

    def support_tensors(self) -> Tensors:
        """Unit features (N, D), labels (N,), ids (N,)."""
        return {"features": self.features, "labels": self.labels, "ids": self.ids}

    def load_support(self, tensors: Tensors) -> None:
        """Take the store's tensors."""
        self.features = tensors["features"].cpu()
        self.labels, self.ids = tensors["labels"].cpu(), tensors["ids"].cpu()

    def open_gallery(self, images: Looks, path: Path, origin: dict[str, str]) -> None:
        """Prepare the training images, or take them from `path`, or make them when they are compared.

        Args:
            images: the training subset.
            path: where they are kept between calls, where all fit into `gallery_gb`.
            origin: hashes of what they are made from; others are made anew.
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
                lambda rows: self.prepare(images.take(rows), "exemplar"), len(self.labels), budget, kept
            )
            complete = self.gallery.complete() if kept is None else None
        if complete is not None:
            save_tensors(path, {name: value.cpu() for name, value in complete.items()}, origin)

    @torch.no_grad()
    def compare(self, queries: Embedded, images: Looks) -> Embedded:
        """Queries with `rows` (B, K) of their shortlist, nearest first, and `scores_<mode>` (B, K)."""
        assert self.gallery is not None, "open_gallery comes first"
        rows = nearest_rows(queries, self.features, self.labels, self.inference.shortlist)
        order = self.labels[rows[:, 0]].argsort(stable=True)
        found: dict[str, list[Tensor]] = {}
        block = 1
        start = 0
        while start < len(order):
            some = order[start : start + block]
            prepared = self.prepare(images.take(some), "query")
            if start == 0:
                most = min(256, self.gallery.capacity // rows.shape[1])
                block = max(1, min(most, BLOCK_BYTES // (rows.shape[1] * self.bytes_per_pair(prepared))))
            near = self.gallery.take(rows[some].flatten())
            shortlists = {name: value.unflatten(0, (len(some), -1)) for name, value in near.items()}
            for mode, score in self.scores(prepared, shortlists, images.points_of(some)).items():
                found.setdefault(f"scores_{mode}", []).append(score.float().cpu())
            start += len(some)
        back = order.argsort()
        compared = {name: torch.cat(parts)[back] for name, parts in found.items()}
        return replace(queries, compared={"rows": rows, **compared})

    def _ranked(self, queries: Embedded, mode: str) -> tuple[Tensor, Tensor]:
        """Rows (B, K) of the shortlists, best first, and their scores; equal scores stay in the order of kNN."""
        scores = queries.compared[f"scores_{mode}"]
        order = scores.argsort(dim=1, descending=True, stable=True)
        return queries.compared["rows"].gather(1, order), scores.gather(1, order)

    def predict(self, queries: Embedded, mode: str) -> Prediction:
        """Log of the shares of the votes of the best; -inf for a class without one."""
        rows, _ = self._ranked(queries, mode)
        return Prediction(vote(self.labels[rows[:, : self.inference.voters]], self.n_classes).log().float())

    def explain(self, queries: Embedded, mode: str) -> list[Explanation]:
        """The voters, best first, each with weight 1/V; and the nearest neighbours that would have voted."""
        voters = self.inference.voters
        rows, scores = (values[:, :voters] for values in self._ranked(queries, mode))
        prediction = self.predict(queries, mode)
        weights = torch.full(rows.shape, 1 / voters)
        records = exemplars(queries, prediction, mode, self.ids[rows], self.labels[rows], weights, similarity=scores)
        nearest_rows = queries.compared["rows"][:, :voters]
        before = Prediction(vote(self.labels[nearest_rows], self.n_classes).log())
        others = exemplars(queries, before, mode, self.ids[nearest_rows], self.labels[nearest_rows], weights)
        return [
            replace(record, nearest=[e for e in other.exemplars if e.label == other.predicted][:SHOWN_EXEMPLARS])
            for record, other in zip(records, others, strict=True)
        ]

    @torch.no_grad()
    def add_links(
        self, records: list[Explanation], queries: Embedded, take: Callable[[list[int]], Tensor]
    ) -> list[Explanation]:
        """Records whose shown exemplars tell where each query patch goes."""
        found = []
        for record, rows in zip(records, queries.compared["rows"], strict=True):
            # Under compat a plan depends on the whole shortlist.
            ids = self.ids[rows].tolist() if self.inference.compat else [e.id for e in record.shown]
            query = self.prepare(take([record.query]), "query")
            parts = [self.prepare(take(some), "exemplar") for some in _split(ids, 64)]
            shortlist = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
            links = self.links(query, shortlist)
            place = {image: k for k, image in enumerate(ids)}
            shown = {exemplar.id for exemplar in record.shown}
            joined = [
                _with_links(exemplar, links, place[exemplar.id]) if exemplar.id in shown else exemplar
                for exemplar in record.exemplars
            ]
            found.append(replace(record, exemplars=joined, grid=list(links.grid)))
        return found


def _with_links(exemplar: Exemplar, links: Links, k: int) -> Exemplar:
    return replace(
        exemplar,
        partner=links.partner[k].tolist(),
        strength=links.strength[k].tolist(),
        correlation=[links.query_map[k].tolist(), links.exemplar_map[k].tolist()],
    )


def _split(values: list[int], size: int) -> list[list[int]]:
    return [values[start : start + size] for start in range(0, len(values), size)]
