"""Patch transport: against loops over patches, and what must hold of any maps."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from lookalike.contracts.explanation import Exemplar
from lookalike.methods.emd_corr import transport
from lookalike.methods.reranking.patches import Matches, Patches, match_patches


def maps(count: int, seed: int, grid: int = 3, channels: int = 6) -> torch.Tensor:
    return torch.randn(count, channels, grid, grid, generator=torch.Generator().manual_seed(seed)).relu()


def solved(query: torch.Tensor, exemplars: torch.Tensor, uniform: bool = False) -> tuple[Matches, transport.Plans]:
    matches = match_patches(Patches.of(query), Patches.of(exemplars))
    return matches, transport.sinkhorn(matches.similarity, *transport.proper_marginals(matches, uniform))


def test_maps_and_cosines_patch_by_patch() -> None:
    query, others = maps(1, 0), maps(4, 1)
    matches = match_patches(Patches.of(query), Patches.of(others))
    for n in range(4):
        a, b = others[n].flatten(1).T, query[0].flatten(1).T  # (R, C)
        for i in range(9):
            for j in range(9):
                cosine = torch.cosine_similarity(a[i], b[j], dim=0)
                torch.testing.assert_close(matches.similarity[n, i, j], cosine, atol=1e-6, rtol=1e-5)
        scale = a.mean(0).norm() * b.mean(0).norm() * 9
        torch.testing.assert_close(matches.exemplar_map[n].float(), a @ b.mean(0) / scale, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(matches.query_map[n].float(), b @ a.mean(0) / scale, atol=1e-6, rtol=1e-5)
        pooled = torch.cosine_similarity(a.mean(0), b.mean(0), dim=0)
        torch.testing.assert_close(matches.exemplar_map[n].sum().float(), pooled)


@given(st.integers(0, 500), st.booleans())
@settings(deadline=None, max_examples=30)
def test_plans_have_their_marginals_and_do_not_depend_on_other_pairs(seed: int, uniform: bool) -> None:
    query, others = maps(1, seed), maps(5, seed + 1)
    matches, plans = solved(query, others, uniform)
    rows, columns = transport.proper_marginals(matches, uniform)
    off = (plans.plan.sum(2) - rows).abs().amax(1)
    assert (off[plans.solved] < 2e-6).all()
    assert (off < 1e-3).all()  # a few plans are still a little off after the last pass
    assert ((plans.passes == transport.PASSES) | plans.solved).all()
    torch.testing.assert_close(plans.plan.sum(1), columns, atol=2e-6, rtol=0)
    order = torch.randperm(5, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(solved(query, others[order], uniform)[1].plan, plans.plan[order], atol=2e-6, rtol=1e-4)
    alone = solved(query, others[2:3], uniform)[1]
    torch.testing.assert_close(alone.plan[0], plans.plan[2], atol=2e-6, rtol=1e-4)
    # Both images transposed: the same patches in another order.
    matches_t, plans_t = solved(query.transpose(2, 3), others.transpose(2, 3), uniform)
    scores, scores_t = (
        transport.score(p.plan, m.similarity, None) for p, m in ((plans, matches), (plans_t, matches_t))
    )
    torch.testing.assert_close(scores_t, scores, atol=1e-5, rtol=1e-4)


def test_plans_are_near_the_unregularised_optimum() -> None:
    """Entropy of 0.05 costs something; it never gains, and costs at most 0.05 log(R^2)."""
    matches, plans = solved(maps(1, 3), maps(3, 4))
    rows, columns = transport.proper_marginals(matches, False)
    for n in range(3):
        cost = (1 - matches.similarity[n]).double().numpy()
        sums = np.concatenate([np.kron(np.eye(9), np.ones(9)), np.kron(np.ones(9), np.eye(9))])
        wanted = np.concatenate([rows[n], columns[n] * (rows[n].sum() / columns[n].sum())]).astype(np.float64)
        best = linprog(cost.ravel(), A_eq=sums, b_eq=wanted).fun
        ours = float((plans.plan[n].double().numpy() * cost).sum())
        assert best - 1e-5 <= ours <= best + 0.05 * np.log(81)


def test_zero_and_constant_maps_have_a_defined_answer() -> None:
    query, others = maps(1, 0), maps(3, 1)
    others[0], others[1] = 0, others[1, :, :1, :1]
    for asked in (query, torch.zeros_like(query)):
        matches, plans = solved(asked, others)
        scores = transport.score(plans.plan, matches.similarity, 5)
        assert torch.isfinite(scores).all()
        assert scores[0] == 0
        assert torch.isfinite(plans.plan).all()
    signed = torch.randn(3, 6, 3, 3)
    matches, plans = solved(torch.randn(1, 6, 3, 3), signed)
    scores = transport.score(plans.plan, matches.similarity, None)
    assert (scores.abs() <= 1 + 1e-5).all()


def test_equal_entries_go_to_the_lower_place() -> None:
    plan = torch.full((2, 3, 3), 1 / 9)
    plan[1, 2, 2] = 0.5
    similarity = torch.arange(18.0).view(2, 3, 3)
    assert transport.score(plan, similarity, 2).tolist() == pytest.approx([(0 + 1) / 9, 17 * 0.5 + 9 / 9])


def test_pairs_by_hand() -> None:
    plan = torch.tensor([[[0.1, 0.0, 0.3], [0.0, 0.2, 0.0], [0.0, 0.0, 0.0]]])
    target, weight = transport.correspondences(plan)
    assert target.tolist() == [[0, 1, 0]]
    assert weight[0].tolist() == pytest.approx([0.1, 0.2, 0.3])
    pairs = Exemplar(0, 0, 0, target=target[0].tolist(), target_weight=weight[0].tolist()).strongest_pairs(3)
    assert [pair.query for pair in pairs] == [0, 1, 2]  # weakest first
    assert [pair.colour for pair in pairs] == [0, 1, 0]  # the strongest shares its exemplar patch, and so the colour
