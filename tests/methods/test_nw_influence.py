import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lookalike import NWHead
from lookalike.methods.nw.influence import support_influence


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6), rows=st.integers(2, 15), spread=st.sampled_from([0.1, 3.0, 20.0]))
def test_equals_leaving_each_row_out(seed: int, rows: int, spread: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    weights = (torch.randn(3, rows, generator=generator, dtype=torch.float64) * spread).softmax(1)
    labels = torch.randint(3, (rows,), generator=generator)
    queries = torch.randint(3, (3,), generator=generator)
    influence = support_influence(weights, labels, queries)
    for query in range(3):
        same = labels == queries[query]
        p = weights[query][same].sum()
        if not same.any():
            others = [weights[query][torch.arange(rows) != row].sum().log() for row in range(rows)]
            torch.testing.assert_close(influence[query], torch.stack(others))
            continue
        for row in range(rows):
            kept = torch.arange(rows) != row
            others = weights[query][kept].sum()
            left = weights[query][kept & same].sum() / others
            if left * others > 1e-8 and others > 1e-6:  # beyond, p - w and 1 - w have no digits left
                torch.testing.assert_close(influence[query, row], p.log() - left.log(), rtol=1e-5, atol=1e-8)


def test_only_row_of_the_class_is_infinitely_helpful() -> None:
    influence = support_influence(torch.tensor([[0.3, 0.5, 0.2]]), torch.tensor([0, 1, 1]), torch.tensor([0]))
    assert influence[0, 0] == torch.inf
    assert (influence[0, 1:] < 0).all()


@settings(max_examples=100, deadline=None)
@given(
    exponent=st.floats(-30, -3),
    same=st.booleans(),
    third=st.sampled_from([0.0, 0.2]),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
)
def test_a_second_weight_however_small_keeps_the_influence_finite(
    exponent: float, same: bool, third: float, dtype: torch.dtype
) -> None:
    """Against float64 by hand: the loss without a row, from the sums of the other rows."""
    second = 10.0**exponent
    weights = torch.tensor([[1 - second - third, second, third]], dtype=dtype)
    labels = torch.tensor([0, 0, 0 if same else 1])
    influence = support_influence(weights, labels, torch.tensor([0]))
    assert influence.dtype == torch.promote_types(dtype, torch.float32)
    exact = weights[0].double().tolist()
    for row in range(3):
        others = sum(w for i, w in enumerate(exact) if i != row)
        of_class = sum(w for i, w in enumerate(exact) if i != row and labels[i] == 0)
        p = sum(w for i, w in enumerate(exact) if labels[i] == 0)
        removed = exact[row] if row == 0 else None
        expected = (
            math.log(p) + math.log(others) - math.log(of_class)
            if removed is not None
            else math.log1p(-exact[row]) - (math.log1p(-exact[row] / p) if labels[row] == 0 else 0.0)
        )
        assert math.isfinite(float(influence[0, row]))
        assert float(influence[0, row]) == pytest.approx(expected, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("kernel", ["euclidean", "cosine", "dot"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_influence_of_weights_that_a_head_gives(kernel: str, dtype: torch.dtype) -> None:
    """The nearest row has all weight but 1e-3 to 1e-30; without it the class falls to the others."""
    for power in range(3, 31, 3):
        temperature = 1 / (power * math.log(10))
        query = torch.tensor([[1.0, 0.0]], dtype=dtype)
        support = {
            "euclidean": torch.tensor([[1.0, 0.0], [2.0, 0.0]]),
            "cosine": torch.tensor([[1.0, 0.0], [0.0, 1.0]]),
            "dot": torch.tensor([[1.0, 0.0], [0.0, 1.0]]),
        }[kernel].to(dtype)
        weights = NWHead(2, kernel, temperature=temperature).weights(query, support)  # type: ignore[arg-type]
        influence = support_influence(weights, torch.tensor([0, 0]), torch.tensor([0]))
        assert bool(torch.isfinite(influence).all())
        assert abs(float(influence[0, 0])) < 1e-6  # of one class, every row is as good


def test_a_row_with_all_weight() -> None:
    """Where the others have none: nothing is lost among rows of one class, all where they are not."""
    one = torch.tensor([[1.0, 0.0]])
    assert support_influence(one, torch.tensor([0, 0]), torch.tensor([0])).tolist() == [[0.0, 0.0]]
    assert support_influence(one, torch.tensor([0, 1]), torch.tensor([0]))[0, 0] == torch.inf
    assert support_influence(one, torch.tensor([1, 0]), torch.tensor([0]))[0, 0] == -torch.inf
