"""Memory Wrap's layers: against the dullest recomputation, and what must hold of any memory."""

import entmax
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from lookalike.methods.memory_wrap.layer import DISTANCES, BaselineMemory, MemoryWrapLayer
from lookalike.methods.memory_wrap.sparsemax import sparsemax

LAYERS = (MemoryWrapLayer, BaselineMemory)
scores = st.lists(st.floats(-50, 50, allow_nan=False), min_size=1, max_size=12)


@given(scores)
@settings(deadline=None)
def test_sparsemax_is_the_projection_onto_the_simplex(values: list[float]) -> None:
    """By the conditions of the projection: z - p is equal on the support, and not larger off it."""
    z = torch.tensor(values, dtype=torch.float64)
    p = sparsemax(z)
    assert (p >= 0).all()
    assert p.sum().item() == pytest.approx(1, abs=1e-9)
    gaps = (z - p)[p > 0]
    assert (gaps.max() - gaps.min()).item() <= 1e-9
    assert ((z - p)[p == 0] <= gaps.min() + 1e-9).all()


def test_sparsemax_against_a_solver_and_its_gradient() -> None:
    z = torch.randn(7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    solved = minimize(
        lambda p: ((p - z.numpy()) ** 2).sum(),
        np.full(7, 1 / 7),
        bounds=[(0, 1)] * 7,
        constraints={"type": "eq", "fun": lambda p: p.sum() - 1},
        options={"ftol": 1e-14, "maxiter": 500},
    )
    np.testing.assert_allclose(sparsemax(z).numpy(), solved.x, atol=1e-5)
    rows = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(sparsemax, (rows,))
    assert torch.autograd.gradcheck(lambda x: sparsemax(x, 0), (rows,))


@given(st.integers(1, 6), st.integers(1, 40), st.sampled_from([0.1, 1.0, 8.0]), st.integers(0, 1000))
@settings(deadline=None)
def test_sparsemax_is_that_of_entmax(rows: int, items: int, scale: float, seed: int) -> None:
    """Values and gradients; some scores tie."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(rows, items, dtype=torch.float64, generator=generator).mul(4 * scale).round() / 4
    upstream = torch.randn(rows, items, dtype=torch.float64, generator=generator)
    pairs = []
    for function in (sparsemax, entmax.sparsemax):
        own_scores = scores.clone().requires_grad_()
        weights = function(own_scores, dim=-1)
        weights.backward(upstream)
        pairs.append((weights.detach(), own_scores.grad))
    for ours, theirs in zip(*pairs, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=1e-10)


def expanded(distance: str, queries: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
    """Distances with a tensor of queries x memory x features."""
    if distance == "l2":
        return (queries[:, None] - memory).square().sum(2)
    if distance == "dot":
        return -(queries[:, None] * memory).sum(2)
    unit = [rows / (rows.square().sum(1, keepdim=True) + 1e-6).sqrt() for rows in (queries, memory)]
    return 1 - (unit[0][:, None] * unit[1]).sum(2)


@pytest.mark.parametrize("distance", DISTANCES)
def test_distances(distance: str) -> None:
    queries, memory = torch.randn(5, 8, dtype=torch.float64), torch.randn(6, 8, dtype=torch.float64)
    torch.testing.assert_close(DISTANCES[distance](queries, memory), expanded(distance, queries, memory))


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("distance", DISTANCES)
def test_what_holds_of_any_memory(kind: type, distance: str) -> None:
    """Order of the memory, other queries of the batch, rows that weigh nothing and a prepared memory change nothing."""
    torch.manual_seed(0)
    layer = kind(16, 4, distance=distance).double().eval()
    queries, memory = torch.randn(9, 16, dtype=torch.float64), torch.randn(30, 16, dtype=torch.float64)
    out, weights = layer(queries, memory, return_weights=True)
    order = torch.randperm(30)
    shuffled, moved = layer(queries, memory[order], return_weights=True)
    torch.testing.assert_close(shuffled, out)
    torch.testing.assert_close(moved, weights[:, order])
    for row in range(9):
        torch.testing.assert_close(layer(queries[row : row + 1], memory), out[row : row + 1])
        used = memory[weights[row] > 0]
        assert len(used) < 30
        torch.testing.assert_close(layer(queries[row : row + 1], used), out[row : row + 1])
    torch.testing.assert_close(layer(queries, layer.remember(memory)), out)
    assert torch.equal(layer(queries[:0], memory), out[:0])


def test_a_classifier_of_ones_own_may_be_empty() -> None:
    layer = BaselineMemory(8, 8, torch.nn.Sequential())
    assert len(layer.classifier) == 0
    assert layer(torch.randn(2, 8), torch.randn(3, 8)).shape == (2, 8)
    with pytest.raises(ValueError, match="no hidden layer"):
        MemoryWrapLayer(8, 2, torch.nn.Linear(16, 2)).hidden(torch.randn(2, 8), torch.randn(3, 8))


@pytest.mark.parametrize("kind", LAYERS)
def test_bad_input_is_named(kind: type) -> None:
    layer = kind(8, 2)
    good, bad = torch.randn(3, 8), torch.randn(3, 8)
    bad[1, 2] = float("nan")
    cases = [
        ((good, good[:0]), "the memory is empty; give at least one row"),
        ((good[:, :5], good), r"queries of shape \(3, 5\): this layer takes \(rows, 8\)"),
        ((good, good[:, :5]), r"memory of shape \(3, 5\): this layer takes \(rows, 8\)"),
        ((good[0], good), r"queries of shape \(8,\)"),
        ((bad, good), "features of the queries are not finite"),
        ((good, bad), "features of the memory are not finite"),
    ]
    for arguments, message in cases:
        with pytest.raises(ValueError, match=message):
            layer(*arguments)
    with pytest.raises(ValueError, match="distance is 'cosin'; there are cosine, l2, dot"):
        kind(8, 2, distance="cosin")


def test_half_precision_does_not_overflow() -> None:
    layer = MemoryWrapLayer(64, 3, distance="l2").half()
    queries = torch.full((2, 64), 200.0, dtype=torch.float16)  # squares sum to 2,560,000, half ends at 65,504
    weights = layer.content_weights(queries, torch.cat([queries, queries + 1]))
    assert weights.dtype == torch.float32
    torch.testing.assert_close(weights.sum(1), torch.ones(2))
