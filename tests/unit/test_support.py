"""Neighbours, centroids and the on-disk store."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lookalike.errors import LookalikeError
from lookalike.support.centroids import class_centroids, closest_rows
from lookalike.support.neighbours import build_hnsw, nearest, search_hnsw
from lookalike.support.store import load_tensors, save_tensors


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    k=st.integers(1, 12),
    block=st.integers(1, 40),
    metric=st.sampled_from(["l2", "inner_product"]),
)
def test_nearest_equals_a_full_sort(seed: int, k: int, block: int, metric: str) -> None:
    made = torch.Generator().manual_seed(seed)
    query, support = torch.randn(5, 4, generator=made), torch.randn(30, 4, generator=made)
    values, rows = nearest(query, support, k, metric, block)
    exact = (query[:, None] - support).square().sum(2) if metric == "l2" else query @ support.T
    order = exact.argsort(1, descending=metric != "l2")[:, :k]
    torch.testing.assert_close(values, exact.gather(1, order), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(exact.gather(1, rows), exact.gather(1, order), rtol=1e-4, atol=1e-4)


def test_equal_similarities_go_to_the_lower_row() -> None:
    support = torch.eye(4).repeat(3, 1)
    _, rows = nearest(torch.eye(4)[:1], support, 3, "inner_product", block=5)
    assert rows.tolist() == [[0, 4, 8]]


def test_k_larger_than_the_support_is_refused() -> None:
    with pytest.raises(ValueError, match="between 1 and the 3 support rows"):
        nearest(torch.eye(3), torch.eye(3), 4, "l2")


def test_hnsw_finds_most_neighbours_and_is_deterministic() -> None:
    made = torch.Generator().manual_seed(0)
    support, query = torch.randn(2000, 16, generator=made), torch.randn(50, 16, generator=made)
    index = build_hnsw(support, "l2")
    assert torch.equal(index, build_hnsw(support, "l2"))
    found, (_, exact) = search_hnsw(index, query, 10), nearest(query, support, 10, "l2")
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found.tolist(), exact.tolist(), strict=True)])
    assert recall > 0.9


def test_centroids() -> None:
    made = torch.Generator().manual_seed(0)
    labels = torch.arange(3).repeat(7)
    features = torch.randn(21, 4, generator=made)
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


def test_store_round_trip_and_damage(tmp_path: Path) -> None:
    path = tmp_path / "support.safetensors"
    tensors = {"features": torch.randn(4, 3), "labels": torch.arange(4)}
    save_tensors(path, tensors, {"weights": "a", "data": "b"})
    for name, value in load_tensors(path, {"weights": "a", "data": "b"}).items():
        assert torch.equal(value, tensors[name])
    with pytest.raises(LookalikeError, match="was made from other weights"):
        load_tensors(path, {"weights": "z", "data": "b"})
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    with pytest.raises(LookalikeError, match="is damaged"):
        load_tensors(path, {})
    path.unlink()
    with pytest.raises(LookalikeError, match="is missing"):
        load_tensors(path, {})
