"""Metrics and statistics against dull recomputation and literal values."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lookalike.contracts.classifier import Prediction
from lookalike.contracts.features import Features
from lookalike.metrics import GENERAL, adaptive_ece, ece
from lookalike.metrics.calibration import bin_edges
from lookalike.metrics.metric import load_metrics
from lookalike.metrics.statistics import compare_paired, summarise_seeds
from lookalike.reporting.collect import measure_predictions
from lookalike.stages.evaluate import prediction_table


def dull_ece(confidence, correct, edges) -> float:
    total = 0.0
    for low, high in itertools.pairwise(edges):
        inside = [i for i, c in enumerate(confidence) if low < c <= high]
        if inside:
            gap = np.mean([confidence[i] for i in inside]) - np.mean([correct[i] for i in inside])
            total += len(inside) / len(confidence) * abs(gap)
    return total


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 80), bins=st.integers(1, 20))
def test_ece_equals_the_dull_form(seed: int, n: int, bins: int) -> None:
    random = np.random.default_rng(seed)
    confidence = random.random(n).astype(np.float32)
    correct = random.random(n) < 0.5
    dull = dull_ece(confidence, correct, bin_edges(bins))
    assert ece(confidence, correct, bins) == pytest.approx(
        dull, abs=1e-6
    )  # float32 sums, as the originals': 80 eps / 10


@pytest.mark.parametrize("bins", range(1, 60))
def test_edges_are_torchs(bins: int) -> None:
    np.testing.assert_array_equal(bin_edges(bins), torch.linspace(0, 1, bins + 1).numpy())


def test_a_confidence_on_an_edge_belongs_to_the_lower_bin() -> None:
    """0.2 is the edge between bins 3 and 4 of 15; with 0.15 it shares bin 3."""
    confidence = np.array([bin_edges(15)[3], 0.15], np.float32)
    correct = np.array([True, False])
    assert ece(confidence, correct) == pytest.approx(abs(confidence.mean() - 0.5), abs=1e-7)


def test_adaptive_ece_has_equal_bins() -> None:
    confidence = np.array([0.5, 0.6, 0.7, 0.8], np.float32)
    correct = np.array([True, False, True, True])
    assert adaptive_ece(confidence, correct, 2) == pytest.approx((abs(1.1 - 1) + abs(1.5 - 2)) / 4)


def test_prediction_table_and_summary() -> None:
    probabilities = torch.tensor([[0.7, 0.2, 0.1], [0.4, 0.4, 0.2], [0.0, 1.0, 0.0]])
    labels = torch.tensor([0, 1, 2])
    none = torch.zeros(3, dtype=torch.int64)
    queries = Features(torch.zeros(3, 1), labels, none, torch.tensor([7, 8, 9]))
    table = prediction_table(Prediction(probabilities.log()), queries).to_pandas()
    assert table["id"].tolist() == [7, 8, 9]
    assert table["predicted"].tolist() == [0, 0, 1]  # the lowest class wins the tie
    assert table["rank"].tolist() == [0, 1, 2]
    np.testing.assert_allclose(table["brier"], [0.14, 0.16 + 0.36 + 0.04, 2.0], rtol=1e-6)
    metrics = measure_predictions(table, load_metrics(GENERAL))
    assert metrics["accuracy"] == pytest.approx(1 / 3)
    assert metrics["top5"] == 1
    assert metrics["nll"] == pytest.approx(-(np.log(0.7) + np.log(0.4) + np.log(1e-12)) / 3)


def test_interval_over_seeds() -> None:
    summary = summarise_seeds(np.array([0.97, 0.98, 0.99]))
    assert summary.mean == pytest.approx(0.98)
    assert summary.std == pytest.approx(0.01)
    assert summary.high - summary.mean == pytest.approx(4.302653 * 0.01 / np.sqrt(3), rel=1e-6)
    assert np.isnan(summarise_seeds(np.array([0.5])).low)


def test_paired_comparison() -> None:
    first = np.array([1, 1, 1, 1, 1, 1, 0, 0], bool)
    second = np.array([0, 0, 0, 0, 0, 0, 1, 0], bool)
    comparison = compare_paired([first, first], [second, first])
    assert comparison.difference.mean == pytest.approx((5 / 8 + 0) / 2)
    assert (comparison.only_first, comparison.only_second) == (3, 0.5)
    assert comparison.p_value == 1.0  # the second seed supports nothing
    assert compare_paired([first], [second]).p_value == pytest.approx(2 * (1 + 7) / 2**7)
    with pytest.raises(ValueError, match="same seeds and queries"):
        compare_paired([first], [second[:3]])


def test_a_seed_without_a_value_is_left_out() -> None:
    summary = summarise_seeds(np.array([0.2, np.nan, 0.4]))
    assert (summary.mean, summary.n) == (pytest.approx(0.3), 2)
    assert summary == summarise_seeds(np.array([0.2, 0.4]))
    none = summarise_seeds(np.array([np.nan, np.nan]))
    assert np.isnan(none.mean)
    assert none.n == 0


def test_several_draws_are_compared_with_one() -> None:
    rng = np.random.default_rng(0)
    draws = [rng.random((3, 50)) < 0.7 for _ in range(2)]
    base = [rng.random(50) < 0.6 for _ in range(2)]
    comparison = compare_paired(draws, base)
    each = [compare_paired([d[k] for d in draws], base) for k in range(3)]
    assert comparison.difference.mean == pytest.approx(np.mean([e.difference.mean for e in each]))
    assert comparison.only_first == pytest.approx(np.mean([e.only_first for e in each]))
    assert comparison.p_value == max(e.p_value for e in each)
