"""The classifiers alone, from what they said of every image of a pool."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
from scipy import stats

from lookalike.human_study.cells import DRAWS, Cell, drawn_cell, share_cell
from lookalike.human_study.contrasts import Z
from lookalike.human_study.responses import Outputs


def measure_classifiers(outputs: dict[str, Outputs], random: np.random.Generator) -> list[Cell]:
    """Top-1 accuracy, mean confidence and calibration error of each classifier, and accuracy by confidence.

    Calibration error: mean over images of |accuracy - confidence| of their group; a group a vote count, or five points
    where confidence is a percentage. Sums of absolute values lie too high, in draws even more: its interval is the
    basic one, twice the value less the quantiles of draws of images.
    """
    numbers = []
    for row, output in outputs.items():
        n = len(output.correct)
        numbers += [
            share_cell("classifiers", row, "top1", int(output.correct.sum()), n),
            Cell("classifiers", row, "right", int(output.correct.sum()), "count", n=n),
            Cell("classifiers", row, "mean_confidence", float(output.percent.mean()), "%", n=n),
        ]
        groups, members = np.unique(output.groups, return_inverse=True)
        size = np.bincount(members)
        right = np.bincount(members, output.correct)
        confidence = np.bincount(members, output.percent) / size / 100
        cells = np.stack([size - right, right], 1)
        drawn = random.multinomial(n, cells.ravel() / n, size=DRAWS).reshape(DRAWS, -1, 2)
        error, errors = (_calibration_error(counts, confidence) for counts in (cells[None], drawn))
        cell = drawn_cell("classifiers", row, "calibration_error", error[0], 2 * error[0] - errors, "%", n, 100)
        numbers.append(replace(cell, low=max(cell.low, 0.0)))
        for group, hits, count, sure in zip(groups, right, size, confidence, strict=True):
            numbers.append(share_cell("by_confidence", row, f"{group}", int(hits), int(count)))
            numbers.append(Cell("by_confidence", row, f"{group}_confidence", 100 * sure, "%", n=int(count)))
    return numbers


def _calibration_error(cells: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """Calibration error of each draw.

    Args:
        cells: (draws, groups, 2) wrong and right images.
        confidence: (groups,) mean confidence.
    """
    size = cells.sum(-1)
    return np.abs(cells[..., 1] - size * confidence).sum(-1) / size.sum(-1)


def compare_classifiers(outputs: dict[str, Outputs]) -> list[Cell]:
    """Each pair on the same images: who alone is right, difference, exact McNemar p with Holm's correction."""
    from statsmodels.stats.multitest import multipletests

    pairs = list(combinations(outputs, 2))
    numbers, p_values = [], []
    for first, second in pairs:
        a, b = outputs[first], outputs[second]
        row, n = f"{first} vs {second}", len(a.correct)
        only_a, only_b = int((a.correct & ~b.correct).sum()), int((b.correct & ~a.correct).sum())
        p_values.append(stats.binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0)
        difference = (only_a - only_b) / n
        half = Z * np.sqrt(max(only_a + only_b - n * difference**2, 0)) / n
        numbers += [
            Cell("agreement", row, "only_first", only_a, "count", n=n),
            Cell("agreement", row, "only_second", only_b, "count", n=n),
            Cell("agreement", row, "both_right", int((a.correct & b.correct).sum()), "count", n=n),
            Cell("agreement", row, "both_wrong", int((~a.correct & ~b.correct).sum()), "count", n=n),
            Cell(
                "agreement",
                row,
                "difference",
                100 * difference,
                "points",
                low=100 * (difference - half),
                high=100 * (difference + half),
                n=n,
            ),
            Cell("agreement", row, "p", p_values[-1], "p", n=n),
        ]
        if a.label is not None and b.label is not None:
            numbers.append(Cell("agreement", row, "other_label", int((a.label != b.label).sum()), "count", n=n))
    corrected = multipletests(p_values, method="holm")[1] if pairs else []
    for (first, second), holm in zip(pairs, corrected, strict=True):
        row = f"{first} vs {second}"
        numbers.append(Cell("agreement", row, "p_holm", float(holm), "p"))
    return numbers
