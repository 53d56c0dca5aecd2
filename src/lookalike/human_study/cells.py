"""A number with its interval, and draws for intervals by resampling."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from lookalike.metrics.statistics import LEVEL, summarise_seeds

DRAWS = 2000
UNKNOWN = float("nan")


@dataclass(frozen=True)
class Cell:
    """One number of a table.

    Attributes:
        table, row, column: Where it stands.
        value: The number, in `unit`.
        unit: `%`, `points`, `s`, `count`, or what a statistic is called.
        sd: Sample standard deviation over sessions, where the value is their mean.
        low, high: 95 % interval.
        n: Sessions, trials or images that the value rests on.
    """

    table: str
    row: str
    column: str
    value: float
    unit: str
    sd: float = UNKNOWN
    low: float = UNKNOWN
    high: float = UNKNOWN
    n: int = 0


def mean_cell(table: str, row: str, column: str, values: np.ndarray, scale: float = 100, unit: str = "%") -> Cell:
    """Mean over sessions with its t interval; sessions without a value, nan, are left out.

    Args:
        table: Where it stands.
        row: Row of the table.
        column: Column of the table.
        values: (sessions,).
        scale: Factor from a share to the unit.
        unit: Unit of the cell.
    """
    summary = summarise_seeds(np.asarray(values, np.float64) * scale)
    return Cell(table, row, column, summary.mean, unit, summary.std, summary.low, summary.high, summary.n)


def share_cell(table: str, row: str, column: str, hits: int, n: int) -> Cell:
    """A share of independent queries in percent, with Wilson's interval."""
    if not n:
        return Cell(table, row, column, UNKNOWN, "%")
    low, high = stats.binomtest(hits, n).proportion_ci(LEVEL, method="wilson")
    return Cell(table, row, column, 100 * hits / n, "%", low=100 * low, high=100 * high, n=n)


def drawn_cell(
    table: str, row: str, column: str, value: float, draws: np.ndarray, unit: str, n: int = 0, scale: float = 1
) -> Cell:
    """A number with the percentile interval of its bootstrap draws; draws without a value are left out."""
    kept = draws[np.isfinite(draws)] * scale
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(kept, [tail, 100 - tail]) if len(kept) else (UNKNOWN, UNKNOWN)
    return Cell(table, row, column, float(value) * scale, unit, low=float(low), high=float(high), n=n)


def resampled(random: np.random.Generator, n: int, draws: int = DRAWS) -> np.ndarray:
    """How often each of n units is drawn, drawing n with replacement: (draws, n)."""
    return random.multinomial(n, np.full(n, 1 / n), size=draws).astype(np.float64)
