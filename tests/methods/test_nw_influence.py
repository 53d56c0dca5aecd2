import torch
from hypothesis import given, settings
from hypothesis import strategies as st

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
            torch.testing.assert_close(influence[query], torch.log1p(-weights[query]))
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
