"""Neighbours and centroids."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lookalike.distances.centroids import class_centroids, closest_rows
from lookalike.distances.neighbours import build_hnsw, nearest, search_hnsw


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    k=st.integers(1, 12),
    block=st.integers(1, 40),
    metric=st.sampled_from(["l2", "dot"]),
)
def test_nearest_equals_a_full_sort(seed: int, k: int, block: int, metric: str) -> None:
    generator = torch.Generator().manual_seed(seed)
    query, support = torch.randn(5, 4, generator=generator), torch.randn(30, 4, generator=generator)
    values, rows = nearest(query, support, k, metric, block)
    exact = (query[:, None] - support).square().sum(2) if metric == "l2" else query @ support.T
    order = exact.argsort(1, descending=metric != "l2")[:, :k]
    torch.testing.assert_close(values, exact.gather(1, order), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(exact.gather(1, rows), exact.gather(1, order), rtol=1e-4, atol=1e-4)


def test_equal_similarities_go_to_the_lower_row() -> None:
    support = torch.eye(4).repeat(3, 1)
    _, rows = nearest(torch.eye(4)[:1], support, 3, "dot", block=5)
    assert rows.tolist() == [[0, 4, 8]]


def test_k_larger_than_the_support_is_refused() -> None:
    with pytest.raises(ValueError, match="between 1 and the 3 support rows"):
        nearest(torch.eye(3), torch.eye(3), 4, "l2")


def test_hnsw_finds_most_neighbours_and_is_deterministic() -> None:
    generator = torch.Generator().manual_seed(0)
    support, query = torch.randn(2000, 16, generator=generator), torch.randn(50, 16, generator=generator)
    index = build_hnsw(support, "l2")
    assert torch.equal(index, build_hnsw(support, "l2"))
    approximate, (_, exact) = search_hnsw(index, query, 10), nearest(query, support, 10, "l2")
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(approximate.tolist(), exact.tolist(), strict=True)])
    assert recall > 0.9


def test_centroids() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(3).repeat(7)
    features = torch.randn(21, 4, generator=generator)
    means, of_class = class_centroids(features, labels, 1)
    for label in range(3):
        torch.testing.assert_close(means[label], features[labels == label].mean(0))
    rows = closest_rows(features, labels, means, of_class)
    assert (labels[rows] == of_class).all()
    for row, mean, label in zip(rows, means, of_class, strict=True):
        distance = (features - mean).norm(dim=1) + (labels != label) * 1e9
        assert row == distance.argmin()
    few, _ = class_centroids(features, labels, 50)
    assert len(few) == 21
