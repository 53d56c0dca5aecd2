"""Nearest support rows: exact, streamed over blocks, and approximate (HNSW); all through faiss."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lookalike.core.finite import check_finite
from lookalike.distances import NeighbourDistance

LARGEST = 1e15  # features beyond it are scaled before they are multiplied
HNSW_LINKS, HNSW_CONSTRUCTION = 16, 100  # M and ef_construction of the NW head's authors


def nearest(
    query: Tensor, support: Tensor, k: int, distance: NeighbourDistance, block: int = 1 << 18
) -> tuple[Tensor, Tensor]:
    """The k nearest support rows of each query, best first, without a full sort.

    The support is walked in blocks and only k candidates a query are kept, so memory is bounded by one block
    whatever the number of rows; `support` may be memory-mapped. Equal values go to the lower row.

    Args:
        query: (B, D) float32.
        support: (N, D) float32.
        k: Number of rows, 1 to N.
        distance: `dot` (largest inner product first) or `l2` (smallest squared distance first).
        block: Support rows looked at together.

    Returns:
        Values (B, k) and rows (B, k), on the CPU.

    Raises:
        ValueError: The support has fewer than k rows.
        NotFiniteError: A query or a support row holds NaN or an infinity, which faiss would answer with no row at all.
    """
    import faiss  # only where neighbours are searched: most evaluations need none

    if not 1 <= k <= len(support):
        raise ValueError(f"k must lie between 1 and the {len(support)} support rows, not {k}")
    kind = faiss.METRIC_INNER_PRODUCT if distance == "dot" else faiss.METRIC_L2
    sign = -1.0 if distance == "dot" else 1.0
    check_finite(query, "features of the queries", "query {}".format)
    queries = _array(query)
    costs = np.empty((len(queries), 0))  # smaller is nearer
    rows = np.empty((len(queries), 0), np.int64)
    faiss.omp_set_num_threads(torch.get_num_threads())
    for start in range(0, len(support), block):
        rows_of_block = support[start : start + block]
        check_finite(rows_of_block, "features of the support", partial(_row, start))
        scaled, part, scale = queries, _array(rows_of_block), _scale(query, rows_of_block)
        if scale != 1:
            scaled, part = scaled * scale, part * scale
        values, indices = faiss.knn(scaled, part, min(k, len(part)), metric=kind)
        costs = np.concatenate([costs, sign * values.astype(np.float64) / float(scale) ** 2], 1)
        rows = np.concatenate([rows, indices + start], 1)
        order = np.lexsort((rows, costs))[:, :k]
        costs, rows = np.take_along_axis(costs, order, 1), np.take_along_axis(rows, order, 1)
    with np.errstate(over="ignore"):  # where they are compared they were finite
        return torch.from_numpy((sign * costs).astype(np.float32)), torch.from_numpy(rows)


def _row(start: int, row: int) -> str:
    return f"row {start + row}"


def _scale(*features: Tensor) -> np.float32:
    """1, or a power of two by which features such as 1e20 are multiplied, since products of them would overflow."""
    largest = max(float(torch.stack(rows.detach().aminmax()).abs().max()) for rows in features if rows.numel())
    return np.float32(1 if largest < LARGEST else 2.0 ** -math.ceil(math.log2(largest)))


def build_hnsw(support: Tensor, distance: NeighbourDistance) -> Tensor:
    """An approximate index of (N, D) rows, as bytes (n,) uint8.

    Built by one thread: the links depend on the order of insertion, and so would the results.
    """
    import faiss  # only where neighbours are searched: most evaluations need none

    kind = faiss.METRIC_INNER_PRODUCT if distance == "dot" else faiss.METRIC_L2
    index = faiss.IndexHNSWFlat(support.shape[1], HNSW_LINKS, kind)
    index.hnsw.efConstruction = HNSW_CONSTRUCTION
    faiss.omp_set_num_threads(1)
    index.add(_array(support))
    return torch.from_numpy(faiss.serialize_index(index).copy())


def search_hnsw(index_bytes: Tensor, query: Tensor, k: int) -> Tensor:
    """Rows (B, k) found by the index, nearest first; -1 where it finds fewer than k (many equal rows)."""
    import faiss  # only where neighbours are searched: most evaluations need none

    index: Any = faiss.deserialize_index(index_bytes.numpy())
    check_finite(query, "features of the queries", "query {}".format)
    index.hnsw.efSearch = max(64, 2 * k)  # candidates that the search looks at
    faiss.omp_set_num_threads(torch.get_num_threads())
    return torch.from_numpy(index.search(_array(query), k)[1])


def _array(rows: Tensor) -> np.ndarray:
    array: np.ndarray = np.ascontiguousarray(rows.detach().cpu().numpy(), dtype=np.float32)
    return array
