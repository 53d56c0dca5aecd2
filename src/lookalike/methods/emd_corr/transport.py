"""Patch-wise optimal transport between a query and its exemplars: the similarity that EMD-Corr re-ranks by.

Nguyen, Taesiri and Nguyen, NeurIPS 2022 (arXiv 2208.00780) (docs/algorithms/knn_emd_corr.md, section 6). N exemplars of
R = g x g patches with C channels each; in plans and similarities rows are exemplar patches, columns query patches. The
marginals' maps are row and column sums of one product of patches: no tensor of patches x patches x channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lookalike.core.finite import check_finite
from lookalike.methods.reranking.patches import Matches, Patches, match_patches

EPSILON = 0.05  # entropic regularisation
MARGINAL_FLOOR = 1e-5
UPSTREAM_PASSES, UPSTREAM_STOP = 100, 0.1
PASSES, PRECISION = 1_000, 1e-6


def emd_similarity(query: Tensor, exemplars: Tensor, uniform: bool = False, entries: int | None = 5) -> Tensor:
    """How little it costs to move the patches of each exemplar to those of a query (Nguyen et al., NeurIPS 2022).

    Args:
        query: Feature map (C, g, h) of the query.
        exemplars: Feature maps (N, C, g, h) of the exemplars, of the same network.
        uniform: Whether all patches have the same mass; else each has its cross-correlation with the other image.
        entries: Number of entries of the plan that count, those with most mass; None for all.

    Returns:
        Similarities (N,), higher is more alike.

    Raises:
        NotFiniteError: A map holds NaN or an infinity.

    Example:
        >>> import torch
        >>> from lookalike.rerank import emd_similarity
        >>> maps = torch.rand(3, 8, 4, 4, generator=torch.Generator().manual_seed(0))
        >>> bool(emd_similarity(maps[0], maps).argmax() == 0)  # nothing is more alike than the image itself
        True
    """
    check_finite(query[None], "features of the query")
    check_finite(exemplars, "features of the exemplars", "exemplar {}".format)
    matches = match_patches(Patches.of(query[None]), Patches.of(exemplars))
    rows, columns = proper_marginals(matches, uniform)
    return score(sinkhorn(matches.similarity, rows, columns).plan, matches.similarity, entries)


def attention_marginals(matches: Matches) -> tuple[Tensor, Tensor]:
    """Marginals (N, R) of exemplars and query as the original gives them to Sinkhorn; float32."""
    maps = (matches.exemplar_map, matches.query_map)
    rows, columns = ((values / (values.sum(1, keepdim=True) + MARGINAL_FLOOR)).float() for values in maps)
    return rows, columns


def proper_marginals(matches: Matches, uniform: bool) -> tuple[Tensor, Tensor]:
    """Marginals (N, R) that are not negative and sum to 1: of the maps, or uniform; uniform where a map has no mass.

    Maps of features that are all positive are positive; of others the negative part is cut off.
    """
    marginals = []
    for values in (matches.exemplar_map, matches.query_map):
        mass = torch.ones_like(values) if uniform else values.clamp_min(0)
        total = mass.sum(1, keepdim=True)
        marginals.append(torch.where(total > 0, mass / total, 1 / values.shape[1]).float())
    return marginals[0], marginals[1]


@dataclass(frozen=True)
class Plans:
    """Transport plans.

    Attributes:
        plan: (N, R, R) transported mass.
        passes: (N,) passes of Sinkhorn until each pair stopped.
        solved: (N,) whether each pair stopped by its precision.
    """

    plan: Tensor
    passes: Tensor
    solved: Tensor


def sinkhorn_upstream(similarity: Tensor, rows: Tensor, columns: Tensor, together: int | None = None) -> Plans:
    """The original's solver: one stop for all exemplars of a query when the mean change falls below 0.1.

    Args:
        similarity: (N, R, R) cosines.
        rows: (N, R) marginals of the exemplars' patches.
        columns: (N, R) marginals of the query's patches.
        together: Number of consecutive pairs that stop together; all when left out.

    Returns:
        Plans; a pair's plan depends on those that stop with it. `solved` is false where the last pass was reached,
        even when that pass met the threshold.
    """
    together = together or len(rows)
    kernel = ((similarity - 1) / EPSILON).exp()
    left, right = torch.ones_like(rows), torch.ones_like(columns)
    passes = torch.zeros(len(rows) // together, dtype=torch.int64, device=rows.device)
    running = torch.ones_like(passes, dtype=torch.bool)
    for _ in range(UPSTREAM_PASSES):
        new_left = rows / torch.einsum("nij,nj->ni", kernel, right)
        new_right = columns / torch.einsum("nij,ni->nj", kernel, new_left)
        change = (new_left - left).abs().view(len(passes), -1).mean(1)
        going = running.repeat_interleave(together)[:, None]
        left, right = torch.where(going, new_left, left), torch.where(going, new_right, right)
        passes += running
        running = running & ~(change < UPSTREAM_STOP)
        if not bool(running.any()):
            break
    every = passes.repeat_interleave(together)
    return Plans(left[:, :, None] * kernel * right[:, None], every, every < UPSTREAM_PASSES)


def sinkhorn(similarity: Tensor, rows: Tensor, columns: Tensor) -> Plans:
    """Sinkhorn, each pair until its own row sums are right to 1e-6.

    With cosines and a regularisation of 0.05 the kernel lies between e^-40 and 1, so that nothing over- or underflows
    in float32; the logarithmic domain, which smaller regularisations need, took 20 times as long for equal plans.

    Args:
        similarity: (N, R, R) cosines.
        rows: (N, R) marginals of the exemplars' patches, each summing to 1; zeros are allowed.
        columns: (N, R) marginals of the query's patches.

    Returns:
        Plans; a pair's plan does not depend on the others. `solved` is false after 1,000 passes.
    """
    kernel = ((similarity - 1) / EPSILON).exp().contiguous()
    left, right = torch.zeros_like(rows), torch.ones_like(columns)
    passes = torch.full((len(rows),), PASSES, device=rows.device)
    solved = torch.zeros(len(rows), dtype=torch.bool, device=rows.device)
    pairs = torch.arange(len(rows), device=rows.device)  # those still running
    part, u, v, r, c = kernel, rows, columns, left, right
    for done in range(PASSES + 1):
        spread = torch.bmm(part, c[:, :, None])[:, :, 0]
        if done:
            right_sums = (r * spread - u).abs().amax(1) < PRECISION
            if done == PASSES or bool(right_sums.any()):
                ended = right_sums | (done == PASSES)
                left[pairs[ended]], right[pairs[ended]] = r[ended], c[ended]
                passes[pairs[ended]], solved[pairs[ended]] = done, right_sums[ended]
                pairs, part, u, v, c, spread = (x[~ended] for x in (pairs, part, u, v, c, spread))
                if not len(pairs):
                    break
        r = u / spread
        c = v / torch.bmm(part.mT, r[:, :, None])[:, :, 0]
    return Plans(left[:, :, None] * kernel * right[:, None], passes, solved)


def score(plan: Tensor, similarity: Tensor, entries: int | None) -> Tensor:
    """Similarity (N,) of query and exemplars, higher is better: sum of plan x similarity.

    Args:
        plan: (N, R, R) transported mass.
        similarity: (N, R, R) cosines.
        entries: Number of entries with the largest plan values; of equal ones the lower row and column. None for all.
    """
    flat, values = plan.flatten(1), similarity.flatten(1)
    if entries is None or entries >= flat.shape[1]:
        return (flat * values).sum(1)
    top = flat.topk(entries + 1, dim=1)
    chosen = top.indices[:, :entries]
    tied = top.values[:, entries - 1] == top.values[:, entries]
    if bool(tied.any()):  # topk takes any of equal entries
        chosen[tied] = flat[tied].argsort(dim=1, descending=True, stable=True)[:, :entries]
    return (flat.gather(1, chosen) * values.gather(1, chosen)).sum(1)


def mixed_score(scores: Tensor, matches: Matches, together: int | None = None) -> Tensor:
    """Scores (N,) plus the share of a query's best exemplar's inner product of whole maps (option `mix_distance`).

    Args:
        scores: (N,) similarities.
        matches: Matches of the N pairs.
        together: Number of consecutive pairs that belong to a query; all when left out.
    """
    whole = matches.products.diagonal(dim1=1, dim2=2).sum(1).view(-1, together or len(scores))
    return scores + (whole / whole.amax(1, keepdim=True)).flatten()


def correspondences(plan: Tensor) -> tuple[Tensor, Tensor]:
    """Where each query patch sends most: exemplar patches (N, R), the first of equal ones, and plan values (N, R)."""
    weight, target = plan.max(1)
    return target, weight
