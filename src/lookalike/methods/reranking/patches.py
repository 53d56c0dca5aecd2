"""Patches of feature maps and how alike they are: what EMD-Corr and CHM-Corr both compare by.

Nguyen, Taesiri and Nguyen, NeurIPS 2022 (arXiv 2208.00780) (docs/algorithms/knn_emd_corr.md, section 5). A map has
R = g x h patches of C channels, row by row. The cross-correlation maps are row and column sums of the one product that
the cosines need anyway: no tensor of patches x patches x channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Patches:
    """Feature maps prepared once for any number of comparisons; all fields share their leading axes.

    Attributes:
        unit: (..., R, C) patches of length 1; a zero patch stays zero.
        lengths: (..., R) lengths of the patches.
        mean_length: (...) length of the mean patch.
    """

    unit: Tensor
    lengths: Tensor
    mean_length: Tensor

    @classmethod
    def of(cls, maps: Tensor) -> Patches:
        """Prepare maps (N, C, g, h), patches row by row."""
        patches = maps.flatten(2).transpose(1, 2).contiguous()  # (N, R, C)
        lengths = torch.linalg.vector_norm(patches, dim=2)
        mean = torch.einsum("nrc->nc", patches) / patches.shape[1]
        return cls(patches / lengths.clamp_min(1e-12)[..., None], lengths, mean.norm(dim=1))

    def __len__(self) -> int:
        return len(self.unit)

    def rows(self, rows: Tensor | slice) -> Patches:
        """Some of the maps."""
        return Patches(self.unit[rows], self.lengths[rows], self.mean_length[rows])


@dataclass(frozen=True)
class Matches:
    """Patches of exemplars and of a query against each other; N pairs.

    Attributes:
        similarity: (N, R, R) cosines; rows are exemplar patches, columns query patches.
        products: (N, R, R) inner products of the raw patches.
        exemplar_map, query_map: (N, R) cross-correlation of each patch with the other image's mean patch; both sum to
            the cosine of the pooled features. 0 for an image whose mean is zero.
    """

    similarity: Tensor
    products: Tensor
    exemplar_map: Tensor
    query_map: Tensor


def match_patches(queries: Patches, exemplars: Patches) -> Matches:
    """Compare each of B queries with K exemplars of its own.

    Args:
        queries: Maps of B queries, unit (B, R, C).
        exemplars: Maps of K exemplars of each query, unit (B, K, R, C); or (K, R, C) of a single query.

    Returns:
        B K pairs, those of a query together.
    """
    unit = exemplars.unit if exemplars.unit.ndim == 4 else exemplars.unit[None]
    batch, count, patches, channels = unit.shape
    # The query's patches as the left factor: 5 to 15 % faster.
    both = queries.unit @ unit.reshape(batch, count * patches, channels).mT  # (B, R, K R)
    similarity = both.view(batch, -1, count, patches).permute(0, 2, 3, 1).flatten(0, 1)  # (B K, R, R)
    query_lengths, mean = (values.repeat_interleave(count, 0) for values in (queries.lengths, queries.mean_length))
    lengths, means = exemplars.lengths.reshape(batch * count, patches), exemplars.mean_length.reshape(batch * count)
    products = similarity * lengths[:, :, None] * query_lengths[:, None]
    size = patches**2 * (mean * means)[:, None].double()
    maps = [products.sum(axis, dtype=torch.float64) / size for axis in (2, 1)]
    exemplar_map, query_map = (torch.where(size > 0, values, 0) for values in maps)
    return Matches(similarity, products, exemplar_map, query_map)


def cell_centres(side: int) -> Tensor:
    """(side * side, 2) x and y of the patches' middles between -1 and 1, row by row."""
    at = (torch.arange(side) + 0.5) / side * 2 - 1
    y, x = torch.meshgrid(at, at, indexing="ij")
    return torch.stack([x, y], -1).view(-1, 2)


def cells_of(points: Tensor, side: int) -> Tensor:
    """Numbers (...) of the patches that hold points (..., 2), row by row; a point at the border is inside."""
    column, row = ((points + 1) / 2 * side).long().clamp(0, side - 1).unbind(-1)
    return row * side + column
