"""Published against reproduced: a verdict for each number.

match                 the reproduced number, rounded as the published one, is the published one; or it lies within the
                      tolerance that the row states and explains.
within seed spread    two means over seeds that differ by no more than their 95 % interval of difference.
differs               neither.
not run               the study makes it, and has not yet.
cannot be run here    the study does not make it; the row says why.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from lookalike.core.errors import LookalikeError
from lookalike.core.tables import read_csv
from lookalike.metrics.statistics import LEVEL, summarise_seeds
from lookalike.reporting.collect import evaluation_key, measure_predictions, metrics_of, read_predictions
from lookalike.reporting.summaries import read_collected
from lookalike.study.plan import Evaluation, Plan
from lookalike.study.published import Address, Published, published_rows

VERDICTS = ("match", "within seed spread", "differs", "not run", "cannot be run here")
LEAST_SEEDS = 3  # of ours, for their spread to say anything
FRACTION = {"%": 100.0, "points": 100.0}  # metrics of runs are fractions


@dataclass(frozen=True)
class Reproduced:
    """A reproduced number.

    Attributes:
        value: The number, in the published unit.
        sd: Standard deviation over seeds or sessions; nan where there is none.
        low: Lower end of the 95 % interval; nan where there is none.
        high: Upper end of the 95 % interval; nan where there is none.
        n: Seeds, sessions, trials or images behind the number.
        planned: Seeds that the study has; 0 where the number is no mean over seeds.
    """

    value: float
    sd: float
    low: float
    high: float
    n: int
    planned: int = 0


def compare_published(plan: Plan) -> pd.DataFrame:
    """One row a published number and place of its reproduction: both numbers, and the verdict."""
    rows = []
    sources = Sources(plan)
    for published in published_rows(plan):
        addresses = [address for address in published.addresses if address.is_in(plan)]
        for address in addresses or (None,):
            reproduced = None if address is None else sources.reproduced(address, published.unit)
            rows.append(_row(plan, published, address, reproduced))
    return pd.DataFrame(rows)


def summarise(table: pd.DataFrame) -> str:
    """How many numbers have which verdict, and a line for each that differs."""
    readable = table[table.mark != "unreadable"]
    counts = Counter(readable.verdict)
    verdicts = ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts[verdict])
    unreadable = len(table) - len(readable)
    lines = [f"{count_marks(readable)}: {verdicts or 'none'}; {unreadable} published entries could not be read"]
    for _, row in readable[readable.verdict == "differs"].iterrows():
        lines.append(
            f"  differs: {row.table}, {row.row}, {row.column}: published {row.published}, reproduced "
            f"{as_published(row.reproduced, row.published)} ({row.why})"
        )
    return "\n".join(lines)


def count_marks(readable: pd.DataFrame) -> str:
    """How many numbers there are, and how they are known: `3 numbers (2 published, 1 of third parties)`."""
    counts = Counter(readable.mark)
    kinds = {
        "published": "published",
        "third-party": "of third parties",
        "recomputed": "recomputed before from the same data",
    }
    parts = [f"{counts[mark]} {words}" for mark, words in kinds.items() if counts[mark]]
    return f"{len(readable)} number{'s' * (len(readable) != 1)}" + f" ({', '.join(parts)})" * bool(parts)


class Sources:
    """What a study has by now: cells of its analysed human studies and metrics of its evaluations, read once."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        metrics = plan.folder / "tables" / "metrics.csv"
        self.collected = read_collected(plan) if metrics.exists() else None
        self.cells: dict[tuple[str, str, str, str], Reproduced] = {}
        for entry in plan.human_studies:
            path = plan.human_study(entry)
            if path.exists():
                for _, row in read_csv(path, dtype={"row": str, "column": str}).iterrows():
                    cell = Reproduced(row.value, row.sd, row.low, row.high, int(row.n))
                    self.cells[entry, row["table"], row["row"], row["column"]] = cell
        self.analysed = {entry for entry, *_ in self.cells}

    def reproduced(self, address: Address, unit: str) -> Reproduced | None:
        """The number at an address; None where its study or run is not there yet.

        Args:
            address: Place of the number.
            unit: Unit of the published number.

        Raises:
            LookalikeError: The analysis has no such cell, or the run no such metric.
        """
        return self._of_runs(address, unit) if address.is_run else self._of_people(address)

    def _of_people(self, address: Address) -> Reproduced | None:
        """The cell of an address; None where its study was not analysed yet."""
        p = address.parts
        if p["entry"] not in self.analysed:
            return None
        cell = self.cells.get((p["entry"], p["table"], p["row"], p["column"]))
        if cell is None:
            raise LookalikeError(
                f"{address.text} is no cell of the analysis; mend reproduced_by in workflow/published."
            )
        if "sd" in p:
            return Reproduced(cell.sd, math.nan, math.nan, math.nan, cell.n)
        return cell

    def _of_runs(self, address: Address, unit: str) -> Reproduced | None:
        """Mean over the seeds that are there; None where there is none."""
        p = address.parts
        values = []
        for seed in self.plan.seeds:
            run = self.plan.run_spec(p["dataset"], p["model"], p["size"], seed)
            value = self._metric(Evaluation(run, p["mode"], p["evaluation_set"]), p["metric"])
            if value is not None:
                values.append(value * FRACTION.get(unit, 1))
        if not values:
            return None
        mean = summarise_seeds(np.array(values))
        return Reproduced(mean.mean, mean.std, mean.low, mean.high, mean.n, len(self.plan.seeds))

    def _metric(self, evaluation: Evaluation, metric: str) -> float | None:
        """A metric from the collected ones, or from the predictions of a study that is not finished."""
        measured: dict[str, float] = {}
        if self.collected is not None:
            key = evaluation_key(evaluation)
            rows = self.collected[(self.collected[list(key)] == pd.Series(key)).all(axis=1)]
            measured = {str(name): value for name, value in next((r for _, r in rows.iterrows()), {}).items()}
        if not measured and evaluation.predictions.exists():
            measured = measure_predictions(read_predictions(evaluation), metrics_of(self.plan))
        measured = {name: value for name, value in measured.items() if value == value}  # not nan: of another method
        if measured and metric not in measured:
            raise LookalikeError(
                f"{evaluation.run.id} has no metric {metric!r}; mend reproduced_by in workflow/published."
            )
        return measured.get(metric)


def judge(published: Published, reproduced: Reproduced) -> tuple[str, str]:
    """The verdict, and why.

    Args:
        published: The published number.
        reproduced: Its reproduction.
    """
    value, difference = float(published.value), abs(reproduced.value - float(published.value))
    if math.isnan(reproduced.value):
        return "differs", "the reproduction is not a number"
    seeds = f"{reproduced.n} of {reproduced.planned} seeds" if reproduced.n < reproduced.planned else ""
    if difference <= 0.5 * 10.0**-published.decimals * (1 + 1e-9):
        return "match", seeds
    tolerance = published.tolerance
    allowed = (
        float(tolerance[:-1]) / 100 * max(abs(value), abs(reproduced.value))
        if tolerance.endswith("%")
        else float(tolerance or 0)
    )
    if tolerance and difference <= allowed * (1 + 1e-9):
        return "match", f"within {tolerance}: {published.note}"
    if not reproduced.planned:
        return "differs", published.note
    half = spread_of_difference(published, reproduced)
    if math.isnan(half):
        return "differs", f"no spread is known: {seeds or f'{reproduced.n} of {reproduced.planned} seeds'}"
    why = f"{difference:.2f} apart, 95 % of such differences are below {half:.2f}" + f"; {seeds}" * bool(seeds)
    return ("within seed spread" if difference <= half else "differs"), why


def spread_of_difference(published: Published, reproduced: Reproduced) -> float:
    """Half the 95 % interval of the difference of two means over seeds (Welch).

    Where the paper gives no spread, its runs are taken to spread like ours; where it gives no number of runs, to be
    one. With fewer than three seeds of ours its spread is taken for ours.
    """
    theirs = float(published.spread) if published.spread_kind == "sd over seeds" else math.nan
    runs = published.n or 1
    ours = reproduced.sd if reproduced.n >= LEAST_SEEDS else math.nan
    if math.isnan(ours) and math.isnan(theirs):
        return math.nan
    first = (theirs if math.isnan(ours) else ours) ** 2 / reproduced.n
    second = (ours if math.isnan(theirs) else theirs) ** 2 / runs
    if first + second == 0:
        return 0.0
    if math.isnan(ours) or math.isnan(theirs):  # one estimate of the spread
        freedom = float((runs if math.isnan(ours) else reproduced.n) - 1)
    else:
        freedom = (first + second) ** 2 / (first**2 / (reproduced.n - 1) + second**2 / max(runs - 1, 1))
    if freedom <= 0:
        return math.nan
    return float(stats.t.ppf((1 + LEVEL) / 2, freedom) * math.sqrt(first + second))


def _row(plan: Plan, published: Published, address: Address | None, reproduced: Reproduced | None) -> dict[str, object]:
    if published.mark == "unreadable":
        verdict, why = "", published.note
    elif address is None:
        lacking = f"study {plan.name} has no {published.addresses[0].text}" if published.addresses else ""
        verdict, why = "cannot be run here", published.note or lacking or "no method of the project makes it"
    elif reproduced is None:
        verdict, why = "not run", published.note
    else:
        verdict, why = judge(published, reproduced)
    return {
        "paper": published.paper,
        "table": published.table,
        "row": published.row,
        "column": published.column,
        "unit": published.unit,
        "published": published.value,
        "spread": published.spread,
        "by": "" if address is None else "runs" if address.is_run else "released data",
        "reproduced": math.nan if reproduced is None else reproduced.value,
        "sd": math.nan if reproduced is None else reproduced.sd,
        "low": math.nan if reproduced is None else reproduced.low,
        "high": math.nan if reproduced is None else reproduced.high,
        "n": 0 if reproduced is None else reproduced.n,
        "difference": math.nan if reproduced is None else reproduced.value - float(published.value),
        "verdict": verdict,
        "why": why,
        "mark": published.mark,
        "source": published.source,
        "reproduced_by": "" if address is None else address.text,
    }


def as_published(value: float, published: str, more: int = 1) -> str:
    """A reproduced number with some more digits than the published one, for the eye to compare."""
    if math.isnan(value):
        return ""
    if "e" in published.lower():
        return f"{value:.{len(published.lower().partition('e')[0].partition('.')[2]) + more}e}"
    return f"{value:.{len(published.partition('.')[2]) + more * ('.' in published)}f}"


@dataclass(frozen=True)
class ComparisonTable:
    """A published table and its reproduction.

    Attributes:
        name: Name of the published table; `absent` for all that nobody could read.
        shown: Rows as text.
        addresses: Place of the reproduction of each row; empty where there is none.
        verdicts: Number of rows by verdict.
        caption: Paper, verdicts and sources.
    """

    name: str
    shown: pd.DataFrame
    addresses: list[str]
    verdicts: dict[str, int]
    caption: str


def comparison_tables(table: pd.DataFrame) -> list[ComparisonTable]:
    """Each published table with its reproduction; what nobody could read comes last."""
    tables = []
    readable = table[table.mark != "unreadable"]
    for (paper, name), part in readable.groupby(["paper", "table"], sort=False):
        rows = []
        for _, row in part.iterrows():
            reproduced = as_published(row.reproduced, row.published)
            if not math.isnan(row.low):
                ends = (as_published(end, row.published) for end in (row.low, row.high))
                reproduced += f" [{', '.join(ends)}]"
            printed = row.published + f" \N{PLUS-MINUS SIGN} {row.spread}" * bool(row.spread)
            difference = "" if math.isnan(row.difference) else f"{row.difference:+.2g}"
            unit = "" if row.unit == "count" else row.unit
            rows.append([row.row, row.column, unit, printed, reproduced, difference, row.by, row.verdict, row.why])
        headings = ["Row", "Column", "Unit", "Published", "Reproduced", "Difference", "By", "Verdict", "Why"]
        shown = pd.DataFrame(rows, columns=headings)
        if shown["By"].nunique() == 1:
            shown = shown.drop(columns="By")
        kept = [name for name in shown if name in ("Row", "Column", "Verdict") or (shown[name] != "").any()]
        counts = Counter(part.verdict)
        verdicts = {verdict: counts[verdict] for verdict in VERDICTS if counts[verdict]}
        counted = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items())
        sources = "; ".join(dict.fromkeys(part.source))
        caption = f"{paper}: {counted}. Published in: {sources}."
        tables.append(ComparisonTable(str(name), shown[kept], list(part.reproduced_by), verdicts, caption))
    absent = table[table.mark == "unreadable"]
    if len(absent):
        shown = absent[["paper", "column", "source", "why"]]
        shown.columns = pd.Index(["Paper", "Number", "Published in", "Why it is absent"])
        caption = "Published numbers that nobody here could read; none is filled in from memory."
        tables.append(ComparisonTable("absent", shown, [""] * len(absent), {}, caption))
    return tables
