"""The NW head against the dullest form, and its invariants."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lookalike import NWHead
from lookalike.methods.nw.head import Support, class_balance
from lookalike.methods.nw.kernels import KERNELS

LOOSE = {"rtol": 1e-4, "atol": 1e-5}


def dull_scores(kernel: str, query: Tensor, support: Tensor) -> Tensor:
    rows = []
    for q in query:
        row = []
        for s in support:
            qn, sn = q / q.norm().clamp_min(1e-12), s / s.norm().clamp_min(1e-12)
            row.append(
                {
                    "euclidean": -(q - s).norm(),
                    "hypersphere_euclidean": -(qn - sn).norm(),
                    "cosine": qn @ sn,
                    "dot": q @ s,
                    "clip": (qn @ sn) / 0.07,
                }[kernel]
            )
        rows.append(torch.stack(row))
    return torch.stack(rows)


def dull_log_probs(kernel: str, query: Tensor, support: Tensor, labels: Tensor, n_classes: int) -> Tensor:
    weights = dull_scores(kernel, query, support).softmax(1)
    return (weights @ F.one_hot(labels, n_classes).to(weights)).log()


def draw(seed: int, rows: int = 11, queries: int = 4, width: int = 5, n_classes: int = 3):
    generator = torch.Generator().manual_seed(seed)
    query = torch.randn(queries, width, generator=generator, dtype=torch.float64)
    support = torch.randn(rows, width, generator=generator, dtype=torch.float64)
    labels = torch.cat([torch.arange(n_classes), torch.randint(n_classes, (rows - n_classes,), generator=generator)])
    return query, support, labels


@pytest.mark.parametrize("kernel", KERNELS)
def test_log_probs_and_gradients_equal_the_dull_form(kernel: str) -> None:
    query, support, labels = draw(0)
    targets = torch.tensor([0, 1, 2, 0])
    grads = []
    for form in ("ours", "dull"):
        q, s = query.clone().requires_grad_(), support.clone().requires_grad_()
        ours = NWHead(3, kernel).double()
        out = ours(q, s, labels) if form == "ours" else dull_log_probs(kernel, q, s, labels, 3)
        grads.append((out, *torch.autograd.grad(F.nll_loss(out, targets), (q, s))))
    for ours, dull in zip(*grads, strict=True):
        torch.testing.assert_close(ours, dull, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("kernel", KERNELS)
def test_gradients_are_those_of_finite_differences(kernel: str) -> None:
    query, support, labels = draw(1, rows=6, queries=2)
    head = NWHead(3, kernel, temperature=0.7).double()
    assert torch.autograd.gradcheck(
        lambda q, s: head(q, s, labels), (query.requires_grad_(), support.requires_grad_()), eps=1e-7, atol=1e-5
    )


@pytest.mark.parametrize("kernel", KERNELS)
def test_own_supports_equal_one_call_a_query(kernel: str) -> None:
    query, support, labels = draw(2)
    head = NWHead(3, kernel).double()
    supports = torch.stack([support.roll(shift, 0) for shift in range(len(query))])
    labels_of_supports = torch.stack([labels.roll(shift) for shift in range(len(query))])
    shared = head(query, support, labels)
    torch.testing.assert_close(head(query, supports, labels_of_supports), shared)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), kernel=st.sampled_from(KERNELS), rows=st.integers(3, 40))
def test_invariants(seed: int, kernel: str, rows: int) -> None:
    query, support, labels = draw(seed, rows)
    head = NWHead(3, kernel).double()
    whole = head(query, support, labels)
    torch.testing.assert_close(whole.exp().sum(1), torch.ones(len(query), dtype=torch.float64))
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(head(query, support[order], labels[order]), whole)
    torch.testing.assert_close(torch.cat([head(q[None], support, labels) for q in query]), whole)
    blocks = Support.of(support, labels).split(max(rows // 3, 1))
    torch.testing.assert_close(head.stream(query, blocks), whole)


@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_self_distance_is_exactly_zero(offset: float) -> None:
    generator = torch.Generator().manual_seed(3)
    support = torch.randn(300, 512, generator=generator) + offset
    scores = NWHead(2).scores(support[:40], support)
    assert (scores.diagonal() == 0).all()
    exact = -(support[:40, None].double() - support.double()).norm(dim=2)
    torch.testing.assert_close(scores.double(), exact, rtol=2e-4, atol=1e-4)


def test_gradients_of_near_pairs_cancel() -> None:
    """A query's own image in the support, equal up to rounding: matrix products alone are wrong by 0.02."""
    generator = torch.Generator().manual_seed(4)
    base = torch.randn(30, 16, generator=generator)
    labels = torch.arange(30) % 3
    grads = []
    for dtype in (torch.float32, torch.float64):
        rows = base.to(dtype).requires_grad_()
        query = rows[:8] * (1 + torch.tensor(1e-7, dtype=dtype))
        loss = F.nll_loss(NWHead(3)(query, rows, labels), labels[:8])
        grads.append(torch.autograd.grad(loss, rows)[0].double())
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-3, atol=1e-5)


def test_collapsed_features_have_finite_gradients() -> None:
    rows = torch.ones(50, 8, requires_grad=True)
    loss = F.nll_loss(NWHead(2)(rows[:10], rows, torch.arange(50) % 2), torch.zeros(10, dtype=torch.int64))
    assert loss.item() == pytest.approx(math.log(2))
    assert torch.autograd.grad(loss, rows)[0].abs().max() == 0


def test_far_class_keeps_its_gradient_where_the_original_has_none() -> None:
    support = torch.tensor([[0.0], [500.0]])
    labels = torch.tensor([0, 1])
    for floor, alive in ((0.0, True), (1e-12, False)):
        query = torch.tensor([[1.0]], requires_grad=True)
        log_probs = NWHead(2, floor=floor)(query, support, labels)
        (-log_probs[0, 1]).backward()
        assert (query.grad.abs().item() > 0.5) is alive
    assert NWHead(2)(torch.tensor([[1.0]]), support, labels)[0, 1].item() == pytest.approx(-498, abs=1e-3)


def test_streaming_is_exact_for_far_classes() -> None:
    query, support, labels = draw(5, rows=60)
    support[labels == 2] += 1000
    head = NWHead(4).double()  # class 3 has no row at all
    whole = head(query, support, labels)
    assert (whole[:, 3] == -math.inf).all()
    torch.testing.assert_close(head.stream(query, Support.of(support, labels).split(7)), whole)


def test_temperature_divides_scores_and_can_be_learned() -> None:
    query, support, labels = draw(6)
    plain, warm = NWHead(3).double(), NWHead(3, temperature=2.0, learn_temperature=True).double()
    torch.testing.assert_close(warm.scores(query, support), plain.scores(query, support) / 2)
    warm(query, support, labels)[0, 0].backward()
    assert warm.log_temperature.grad.abs() > 0


def test_class_balance_makes_sizes_not_count() -> None:
    """Twice the rows of one class at the same places change nothing."""
    query, support, labels = draw(7)
    more = torch.cat([support, support[labels == 0]])
    more_labels = torch.cat([labels, labels[labels == 0]])
    head = NWHead(3).double()
    balanced = [Support.of(s, y, class_balance(y, 3).double()) for s, y in ((support, labels), (more, more_labels))]
    torch.testing.assert_close(head(query, balanced[0]), head(query, balanced[1]))
    assert not torch.allclose(head(query, support, labels), head(query, more, more_labels))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_features_give_float32(dtype: torch.dtype) -> None:
    query, support, labels = draw(8)
    out = NWHead(3)(query.to(dtype), support.to(dtype), labels)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, NWHead(3)(query.to(dtype).float(), support.to(dtype).float(), labels))


def test_wrong_arguments_are_named() -> None:
    query, support, labels = draw(9)
    with pytest.raises(ValueError, match="labels must have shape"):
        NWHead(3)(query, support, labels[:2])
    with pytest.raises(ValueError, match="the support is empty"):
        NWHead(3)(query, support[:0], labels[:0])
    with pytest.raises(ValueError, match="choose one of euclidean"):
        NWHead(3, "euclid")
    with pytest.raises(ValueError, match="temperature must be positive"):
        NWHead(3, temperature=0)
