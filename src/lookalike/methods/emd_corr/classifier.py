"""EMD-Corr: candidates ordered by optimal transport between patches (docs/algorithms/knn_emd_corr.md, section 6)."""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from lookalike.methods.emd_corr.settings import EMDCorrInference
from lookalike.methods.emd_corr.transport import (
    Plans,
    attention_marginals,
    correspondences,
    mixed_score,
    proper_marginals,
    score,
    sinkhorn,
    sinkhorn_upstream,
)
from lookalike.methods.reranking.classifier import Correspondences, Reranker, Role, Tensors
from lookalike.methods.reranking.patches import Matches, Patches, cell_centres, cells_of, match_patches

log = logging.getLogger(__name__)


class EMDCorrClassifier(Reranker):
    """Majority vote of the training images to whose patches the query's are moved at least cost."""

    inference: EMDCorrInference

    def prepare(self, images: Tensor, role: Role) -> Tensors:
        """Unit patches (n, R, C), their lengths (n, R), the mean patch's length (n,), rows of the grid (n,)."""
        maps = self.backbone.feature_map(images).float()
        return {**vars(Patches.of(maps)), "height": torch.full((len(maps),), maps.shape[2], device=maps.device)}

    def bytes_per_pair(self, query: Tensors) -> int:
        """Similarities, products, kernel and plan, and the exemplar's patches twice."""
        _, patches, channels = query["unit"].shape
        return 4 * (6 * patches**2 + 2 * patches * channels)

    def scores(self, queries: Tensors, candidates: Tensors, key_points: Tensor | None) -> Tensors:
        """Sum of plan x cosine over the plan's largest entries."""
        count = candidates["unit"].shape[1]
        matches, plans, per_query = self._transport(queries, candidates)
        scores = score(plans.plan, matches.similarity, self.inference.entries)
        if self.inference.mix_distance:
            scores = mixed_score(scores, matches, per_query)
        unsolved = int((~plans.solved).sum())
        if unsolved:
            log.warning("%d of %d transports stopped at the last pass", unsolved, len(plans.solved))
        return {"vote": scores.view(-1, per_query)[:, per_query - count :]}

    def correspondences(self, query: Tensors, candidates: Tensors) -> Correspondences:
        """Each query patch and the exemplar patch that gets most of it."""
        matches, plans, per_query = self._transport(query, {name: v[None] for name, v in candidates.items()})
        pairs = slice(per_query - len(candidates["unit"]), None)
        target, weight = correspondences(plans.plan[pairs])
        height = int(query["height"])
        grid = (height, target.shape[1] // height)
        return Correspondences(target, weight, matches.query_map[pairs], matches.exemplar_map[pairs], grid)

    def carry(self, query: Tensors, candidates: Tensors, points: Tensor) -> Tensor:
        """Key points to the middle of the patch that gets most of theirs."""
        pairs = self.correspondences(query, candidates)
        side = pairs.grid[0]
        return cell_centres(side).to(points)[pairs.target[:, cells_of(points, side)]]

    def _transport(self, queries: Tensors, candidates: Tensors) -> tuple[Matches, Plans, int]:
        """Matches and plans of the pairs, and how many pairs a query has."""
        of_queries, near = _patches(queries), _patches(candidates)
        count = near.unit.shape[1]
        if not self.upstream:
            matches = match_patches(of_queries, near)
            rows, columns = proper_marginals(matches, self.inference.marginals == "uniform")
            return matches, sinkhorn(matches.similarity, rows, columns), count
        # The original compares the query with itself too, and that pair takes part in the common stop.
        matches = match_patches(
            of_queries,
            Patches(
                *(
                    torch.cat([a[:, None], b], 1)
                    for a, b in zip(vars(of_queries).values(), vars(near).values(), strict=True)
                )
            ),
        )
        rows, columns = attention_marginals(matches)
        if self.inference.marginals == "uniform":
            rows = columns = torch.full_like(rows, 1 / rows.shape[1])
        return matches, sinkhorn_upstream(matches.similarity, rows, columns, count + 1), count + 1


def _patches(tensors: Tensors) -> Patches:
    return Patches(tensors["unit"], tensors["lengths"], tensors["mean_length"])
