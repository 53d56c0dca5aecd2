"""The similarity that CHM-Corr ranks by: cosines of the patches that CHMNet finds for those of a query.

Nguyen, Taesiri and Nguyen, NeurIPS 2022 (arXiv 2208.00780) (docs/algorithms/chm_corr.md, section 9). Torch alone.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lookalike.core.finite import check_finite
from lookalike.methods.chm_corr.network import CHMNet
from lookalike.methods.reranking.patches import Patches, cell_centres, cells_of, match_patches
from lookalike.methods.reranking.transfer import transfer_points

PATCHES_SCORED = 5
THRESHOLD = 0.55  # of the query's cross-correlation, from its least (0) to its most (1)
UPSTREAM_SIZE, UPSTREAM_PATCHES = 240, 224  # pixels


def chm_similarity(
    query: Tensor, exemplars: Tensor, chmnet: CHMNet, threshold: float = THRESHOLD, scale: Tensor | float = 1.0
) -> Tensor:
    """How alike the corresponding patches of a query and of each exemplar are (Nguyen et al., NeurIPS 2022).

    CHMNet carries each patch of the query to a patch of the exemplar. The similarity is the mean cosine of the five
    best such pairs, among the patches of the query that matter to the exemplar.

    Args:
        query: Feature map (C, s, s) of the query.
        exemplars: Feature maps (N, C, s, s) of the exemplars, of the same network.
        chmnet: Network that matches the maps; it takes as many channels as they have.
        threshold: Value of the query's cross-correlation with the exemplar, least 0 and most 1, from which a patch
            counts.
        scale: Number that the matches are multiplied by before their soft-max.

    Returns:
        Similarities (N,), higher is more alike.

    Raises:
        ValueError: The maps are not square, or a map holds NaN or an infinity.

    Example:
        >>> import torch
        >>> from lookalike.rerank import CHMNet, chm_similarity
        >>> maps = torch.rand(3, 8, 6, 6, generator=torch.Generator().manual_seed(0))
        >>> chm_similarity(maps[0], maps[1:], CHMNet("psi", inputs=8, channels=4)).shape
        torch.Size([2])
    """
    side = query.shape[-1]
    if query.shape[-2] != side or exemplars.shape[-2:] != query.shape[-2:]:
        raise ValueError(
            f"feature maps are {tuple(query.shape)} and {tuple(exemplars.shape)}; give square ones of one size"
        )
    check_finite(query[None], "features of the query")
    check_finite(exemplars, "features of the exemplars", "exemplar {}".format)
    with torch.no_grad():
        pyramids = chmnet.pyramid(torch.cat([query[None], exemplars]))
        matches = chmnet(pyramids[:1].expand(len(exemplars), *pyramids.shape[1:]), pyramids[1:])
        points = patch_points(side).to(query)
        targets = cells_of(transfer_points(matches, points, scale), side)
        pairs = match_patches(Patches.of(query[None]), Patches.of(exemplars))
        cosines = target_cosines(pairs.similarity, targets)
        return top_mean(cosines * attention_mask(pairs.query_map, threshold))


def patch_points(side: int, upstream: bool = False) -> Tensor:
    """Points (side * side, 2) of a query that are carried to the exemplars: the middles of its patches.

    The original's seven are at 18, 52, ... 222 of 240 pixels, up to a pixel further out.
    """
    if not upstream or side != UPSTREAM_PATCHES // 32:
        return cell_centres(side)
    at = (torch.arange(18.0, 223, 34) - UPSTREAM_SIZE / 2) / (UPSTREAM_SIZE / 2)
    y, x = torch.meshgrid(at, at, indexing="ij")
    return torch.stack([x, y], -1).view(-1, 2)


def target_cosines(similarity: Tensor, targets: Tensor, upstream: bool = False) -> Tensor:
    """Cosine (K, R) of each query patch with its target.

    Args:
        similarity: Cosines (K, R, R); rows are exemplar patches, columns query patches.
        targets: Exemplar patch (K, R) of each query patch.
        upstream: Whether to do as the original, which takes x for the row and y for the column in both images: each
            cell of the map holds the cosine of the transposed pair.
    """
    if upstream:
        side = round(targets.shape[1] ** 0.5)
        targets = _transposed(targets.unflatten(1, (side, side)).mT.flatten(1), side)
    return similarity.gather(1, targets[:, None])[:, 0]


def _transposed(cells: Tensor, side: int) -> Tensor:
    """Numbers of the cells whose row and column are exchanged."""
    return cells % side * side + cells // side


def attention_mask(query_map: Tensor, threshold: float) -> Tensor:
    """One (K, R) where the query's map, from its least to its most, reaches the threshold; a flat map keeps all."""
    low, high = query_map.amin(1, keepdim=True), query_map.amax(1, keepdim=True)
    share = torch.where(high > low, (query_map - low) / (high - low), 1)
    return (share >= threshold).float()


def top_mean(masked: Tensor) -> Tensor:
    """Mean (K,) of the five largest values of (K, R); of all, on grids with fewer patches."""
    return masked.topk(min(PATCHES_SCORED, masked.shape[1]), dim=1).values.mean(1)


def point_masks(points: Tensor, side: int) -> Tensor:
    """One (B, R) for patches that hold a visible key point of (B, P, 3)."""
    cells = cells_of(points[..., :2] * 2 - 1, side)
    masks = torch.zeros(len(points), side * side, device=points.device)
    return masks.scatter_reduce(1, cells, (points[..., 2] > 0).float(), "amax")
