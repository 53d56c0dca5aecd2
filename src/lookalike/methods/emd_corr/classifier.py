"""EMD-Corr: the shortlist, ordered by optimal transport between patches.

Nguyen, Taesiri and Nguyen, NeurIPS 2022 (arXiv 2208.00780); section 4 of the specification.
"""

from __future__ import annotations

import logging
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from lookalike.backbones.base import Backbone
from lookalike.methods.base import FrozenSettings
from lookalike.methods.emd_corr.transport import (
    Plans,
    attention_marginals,
    links,
    mixed_score,
    proper_marginals,
    score,
    sinkhorn,
    sinkhorn_upstream,
)
from lookalike.methods.patches import Matches, Patches, cell_centres, cells_of, match_patches
from lookalike.methods.reranking import Links, Reranker, RerankInference, Role, Tensors

log = logging.getLogger(__name__)


class Inference(RerankInference):
    """Settings of the transport; `compat: upstream` is the original's Sinkhorn, which stops early and all at once."""

    marginals: Literal["attention", "uniform"] = Field(
        "attention", description="How much of a patch is moved: as it correlates with the other image, or equally."
    )
    entries: Annotated[int, Field(ge=1)] | None = Field(
        5, description="Largest entries of the plan that make the score; null for all."
    )
    mix_distance: bool = Field(False, description="Add the inner product of the whole maps, 1 for the best exemplar.")


class Settings(FrozenSettings):
    """Study entry of `emd_corr`."""

    method: Literal["emd_corr"]
    modes: Annotated[tuple[Literal["vote"], ...], Field(min_length=1)] = ("vote",)
    explain: tuple[Literal["vote"], ...] = ("vote",)
    inference: Inference = Inference()


class Model(Reranker):
    """Majority vote of the training images to whose patches the query's are moved at least cost."""

    inference: Inference

    def __init__(self, settings: Settings, backbone: Backbone, n_classes: int) -> None:
        super().__init__(settings, settings.inference, backbone, n_classes)

    def prepare(self, images: Tensor, role: Role) -> Tensors:
        """Unit patches (n, R, C), their lengths (n, R), the mean patch's length (n,), rows of the grid (n,)."""
        maps = self.backbone.feature_map(images).float()
        return {**vars(Patches.of(maps)), "height": torch.full((len(maps),), maps.shape[2], device=maps.device)}

    def bytes_per_pair(self, query: Tensors) -> int:
        """Similarities, products, kernel and plan, and the exemplar's patches twice."""
        _, patches, channels = query["unit"].shape
        return 4 * (6 * patches**2 + 2 * patches * channels)

    def scores(self, queries: Tensors, shortlists: Tensors, points: Tensor | None) -> Tensors:
        """Sum of plan x cosine over the plan's largest entries."""
        count = shortlists["unit"].shape[1]
        matches, plans, per_query = self._transport(queries, shortlists)
        found = score(plans.plan, matches.similarity, self.inference.entries)
        if self.inference.mix_distance:
            found = mixed_score(found, matches, per_query)
        unsolved = int((~plans.solved).sum())
        if unsolved:
            log.warning("%d of %d transports stopped at the last pass", unsolved, len(plans.solved))
        return {"vote": found.view(-1, per_query)[:, per_query - count :]}

    def links(self, query: Tensors, shortlist: Tensors) -> Links:
        """Each query patch and the exemplar patch that gets most of it."""
        matches, plans, per_query = self._transport(query, {name: v[None] for name, v in shortlist.items()})
        own = slice(per_query - len(shortlist["unit"]), None)
        partner, flow = links(plans.plan[own])
        height = int(query["height"])
        grid = (height, partner.shape[1] // height)
        return Links(partner, flow, matches.query_map[own], matches.exemplar_map[own], grid)

    def carry(self, query: Tensors, shortlist: Tensors, points: Tensor) -> Tensor:
        """Key points to the middle of the patch that gets most of theirs."""
        found = self.links(query, shortlist)
        side = found.grid[0]
        return cell_centres(side).to(points)[found.partner[:, cells_of(points, side)]]

    def _transport(self, queries: Tensors, shortlists: Tensors) -> tuple[Matches, Plans, int]:
        """Matches and plans of the pairs, and how many pairs a query has."""
        own, near = _patches(queries), _patches(shortlists)
        count = near.unit.shape[1]
        if self.inference.compat is None:
            matches = match_patches(own, near)
            rows, columns = proper_marginals(matches, self.inference.marginals == "uniform")
            return matches, sinkhorn(matches.similarity, rows, columns), count
        # The original compares the query with itself too, and that pair takes part in the common stop.
        matches = match_patches(
            own,
            Patches(
                *(torch.cat([a[:, None], b], 1) for a, b in zip(vars(own).values(), vars(near).values(), strict=True))
            ),
        )
        rows, columns = attention_marginals(matches)
        if self.inference.marginals == "uniform":
            rows = columns = torch.full_like(rows, 1 / rows.shape[1])
        return matches, sinkhorn_upstream(matches.similarity, rows, columns, count + 1), count + 1


def _patches(tensors: Tensors) -> Patches:
    return Patches(tensors["unit"], tensors["lengths"], tensors["mean_length"])
