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

from lookalike.errors import LookalikeError
from lookalike.evaluation.collect import measure_predictions, read_predictions
from lookalike.evaluation.statistics import LEVEL, summarise_seeds
from lookalike.files import write_text, writing
from lookalike.plan import Evaluation, Plan, RunSpec
from lookalike.reporting.names import heading
from lookalike.reporting.published import Address, Published, published_rows
from lookalike.reporting.summaries import GROUP, read_densities
from lookalike.reporting.tables import as_latex, as_markdown

VERDICTS = ("match", "within seed spread", "differs", "not run", "cannot be run here")
LEAST_SEEDS = 3  # of ours, for their spread to say anything
FRACTION = {"%": 100.0, "points": 100.0}  # metrics of runs are fractions


@dataclass(frozen=True)
class Reproduced:
    """A reproduced number.

    Attributes:
        value: in the published unit.
        sd: over seeds or sessions; nan where there is none.
        low, high: 95 % interval; nan where there is none.
        n: seeds, sessions, trials or images behind it.
        planned: seeds that the study has; 0 where the number is no mean over seeds.
    """

    value: float
    sd: float
    low: float
    high: float
    n: int
    planned: int = 0


def compare(plan: Plan) -> str:
    """Write results/<study>/tables/published.csv, .md and .tex.

    Returns:
        How many numbers have which verdict, and those that differ.
    """
    rows = []
    human = Human(plan)
    metrics = plan.folder / "tables" / "metrics.csv"
    collected = read_densities(plan) if metrics.exists() else None
    for one in published_rows(plan):
        here = [address for address in one.addresses if address.is_in(plan)]
        for address in here or (None,):
            found = None
            if address is not None:
                found = _of_runs(plan, address, one.unit, collected) if address.is_run else human.find(address)
            rows.append(_row(plan, one, address, found))
    table = pd.DataFrame(rows)
    path = plan.folder / "tables" / "published"
    with writing(path.with_suffix(".csv")) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")
    parts = twins(table)
    write_text(
        path.with_suffix(".md"),
        "\n".join(f"## {heading(twin.name)}\n\n{as_markdown(twin.shown, twin.caption)}" for twin in parts),
    )
    label = f"tab:{plan.study}-published".replace("_", "-")
    write_text(
        path.with_suffix(".tex"),
        "\n".join(as_latex(twin.shown, twin.caption, f"{label}-{number}") for number, twin in enumerate(parts)),
    )
    return summary(table)


def summary(table: pd.DataFrame) -> str:
    """How many numbers have which verdict, and a line for each that differs."""
    known = table[table.mark != "unreadable"]
    counts = Counter(known.verdict)
    said = ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts[verdict])
    unreadable = len(table) - len(known)
    lines = [f"{counted(known)}: {said or 'none'}; {unreadable} published entries could not be read"]
    for _, row in known[known.verdict == "differs"].iterrows():
        lines.append(
            f"  differs: {row.table}, {row.row}, {row.column}: published {row.published}, reproduced "
            f"{as_published(row.reproduced, row.published)} ({row.why})"
        )
    return "\n".join(lines)


def counted(known: pd.DataFrame) -> str:
    """How many numbers there are, and how they are known: `3 numbers (2 published, 1 of third parties)`."""
    marks = Counter(known.mark)
    kinds = {
        "published": "published",
        "third-party": "of third parties",
        "recomputed": "recomputed before from the same data",
    }
    said = [f"{marks[mark]} {words}" for mark, words in kinds.items() if marks[mark]]
    return f"{len(known)} number{'s' * (len(known) != 1)}" + f" ({', '.join(said)})" * bool(said)


class Human:
    """Cells of the analysed human studies of a plan, read once."""

    def __init__(self, plan: Plan) -> None:
        self.cells: dict[tuple[str, str, str, str], Reproduced] = {}
        for entry in plan.human_studies:
            path = plan.human_study(entry)
            if path.exists():
                for _, row in pd.read_csv(path, dtype={"row": str, "column": str}).iterrows():
                    found = Reproduced(row.value, row.sd, row.low, row.high, int(row.n))
                    self.cells[entry, row["table"], row["row"], row["column"]] = found
        self.there = {entry for entry, *_ in self.cells}

    def find(self, address: Address) -> Reproduced | None:
        """The cell of an address; None where its study was not analysed yet.

        Raises:
            LookalikeError: the analysis has no such cell.
        """
        p = address.parts
        if p["entry"] not in self.there:
            return None
        found = self.cells.get((p["entry"], p["table"], p["row"], p["column"]))
        if found is None:
            raise LookalikeError(
                f"{address.text} is no cell of the analysis; mend reproduced_by in workflow/published."
            )
        if "sd" in p:
            return Reproduced(found.sd, math.nan, math.nan, math.nan, found.n)
        return found


def _of_runs(plan: Plan, address: Address, unit: str, collected: pd.DataFrame | None) -> Reproduced | None:
    """Mean over the seeds that are there; None where there is none."""
    p = address.parts
    values = []
    for seed in plan.seeds:
        run = RunSpec(plan, p["dataset"], p["model"], p["size"], seed)
        value = _metric(Evaluation(run, p["mode"], p["split"]), p["metric"], collected)
        if value is not None:
            values.append(value * FRACTION.get(unit, 1))
    if not values:
        return None
    found = summarise_seeds(np.array(values))
    return Reproduced(found.mean, found.std, found.low, found.high, found.n, len(plan.seeds))


def _metric(evaluation: Evaluation, metric: str, collected: pd.DataFrame | None) -> float | None:
    """A metric from the collected ones, or from the predictions of a study that is not finished."""
    run = evaluation.run
    measured: dict[str, float] = {}
    if collected is not None:
        key = dict(zip(GROUP, (run.dataset, run.size, run.model, evaluation.mode, evaluation.split), strict=True))
        mask = collected.seed == run.seed
        for name, value in key.items():
            mask &= collected[name] == value
        measured = {str(name): value for name, value in next((r for _, r in collected[mask].iterrows()), {}).items()}
    if not measured and run.predictions(evaluation.mode, evaluation.split).exists():
        measured = measure_predictions(read_predictions(evaluation))
    measured = {name: one for name, one in measured.items() if one == one}  # not nan: of another method
    if measured and metric not in measured:
        raise LookalikeError(f"{run.id} has no metric {metric!r}; mend reproduced_by in workflow/published.")
    return measured.get(metric)


def judge(published: Published, found: Reproduced) -> tuple[str, str]:
    """The verdict, and why.

    Args:
        published: the number.
        found: its reproduction.
    """
    value, difference = float(published.value), abs(found.value - float(published.value))
    if math.isnan(found.value):
        return "differs", "the reproduction is not a number"
    seeds = f"{found.n} of {found.planned} seeds" if found.n < found.planned else ""
    if difference <= 0.5 * 10.0**-published.decimals * (1 + 1e-9):
        return "match", seeds
    tolerance = published.tolerance
    allowed = (
        float(tolerance[:-1]) / 100 * max(abs(value), abs(found.value))
        if tolerance.endswith("%")
        else float(tolerance or 0)
    )
    if tolerance and difference <= allowed * (1 + 1e-9):
        return "match", f"within {tolerance}: {published.note}"
    if not found.planned:
        return "differs", published.note
    half = spread_of_difference(published, found)
    if math.isnan(half):
        return "differs", f"no spread is known: {seeds or f'{found.n} of {found.planned} seeds'}"
    why = f"{difference:.2f} apart, 95 % of such differences are below {half:.2f}" + f"; {seeds}" * bool(seeds)
    return ("within seed spread" if difference <= half else "differs"), why


def spread_of_difference(published: Published, found: Reproduced) -> float:
    """Half the 95 % interval of the difference of two means over seeds (Welch).

    Where the paper gives no spread, its runs are taken to spread like ours; where it gives no number of runs, to be
    one. With fewer than three seeds of ours its spread is taken for ours.
    """
    theirs = float(published.spread) if published.spread_kind == "sd over seeds" else math.nan
    runs = published.n or 1
    ours = found.sd if found.n >= LEAST_SEEDS else math.nan
    if math.isnan(ours) and math.isnan(theirs):
        return math.nan
    first = (theirs if math.isnan(ours) else ours) ** 2 / found.n
    second = (ours if math.isnan(theirs) else theirs) ** 2 / runs
    if first + second == 0:
        return 0.0
    if math.isnan(ours) or math.isnan(theirs):  # one estimate of the spread
        freedom = float((runs if math.isnan(ours) else found.n) - 1)
    else:
        freedom = (first + second) ** 2 / (first**2 / (found.n - 1) + second**2 / max(runs - 1, 1))
    if freedom <= 0:
        return math.nan
    return float(stats.t.ppf((1 + LEVEL) / 2, freedom) * math.sqrt(first + second))


def _row(plan: Plan, one: Published, address: Address | None, found: Reproduced | None) -> dict[str, object]:
    if one.mark == "unreadable":
        verdict, why = "", one.note
    elif address is None:
        lacking = f"study {plan.study} has no {one.addresses[0].text}" if one.addresses else ""
        verdict, why = "cannot be run here", one.note or lacking or "no method of the project makes it"
    elif found is None:
        verdict, why = "not run", one.note
    else:
        verdict, why = judge(one, found)
    return {
        "paper": one.paper,
        "table": one.table,
        "row": one.row,
        "column": one.column,
        "unit": one.unit,
        "published": one.value,
        "spread": one.spread,
        "by": "" if address is None else "runs" if address.is_run else "released data",
        "reproduced": math.nan if found is None else found.value,
        "sd": math.nan if found is None else found.sd,
        "low": math.nan if found is None else found.low,
        "high": math.nan if found is None else found.high,
        "n": 0 if found is None else found.n,
        "difference": math.nan if found is None else found.value - float(one.value),
        "verdict": verdict,
        "why": why,
        "mark": one.mark,
        "source": one.source,
        "made_by": "" if address is None else address.text,
    }


def as_published(value: float, published: str, more: int = 1) -> str:
    """A reproduced number with some more digits than the published one, for the eye to compare."""
    if math.isnan(value):
        return ""
    if "e" in published.lower():
        return f"{value:.{len(published.lower().partition('e')[0].partition('.')[2]) + more}e}"
    return f"{value:.{len(published.partition('.')[2]) + more * ('.' in published)}f}"


@dataclass(frozen=True)
class Twin:
    """A published table and its reproduction.

    Attributes:
        name: of the published table; `absent` for all that nobody could read.
        shown: its rows as text.
        made_by: where the reproduction of each row stands; empty where there is none.
        verdicts: verdict -> how many rows.
        caption: paper, verdicts and sources.
    """

    name: str
    shown: pd.DataFrame
    made_by: list[str]
    verdicts: dict[str, int]
    caption: str


def twins(table: pd.DataFrame) -> list[Twin]:
    """Each published table with its twin; what nobody could read comes last."""
    found = []
    known = table[table.mark != "unreadable"]
    for (paper, name), part in known.groupby(["paper", "table"], sort=False):
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
        said = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items())
        sources = "; ".join(dict.fromkeys(part.source))
        caption = f"{paper}: {said}. Published in: {sources}."
        found.append(Twin(str(name), shown[kept], list(part.made_by), verdicts, caption))
    absent = table[table.mark == "unreadable"]
    if len(absent):
        shown = absent[["paper", "column", "source", "why"]]
        shown.columns = pd.Index(["Paper", "Number", "Published in", "Why it is absent"])
        caption = "Published numbers that nobody here could read; none is filled in from memory."
        found.append(Twin("absent", shown, [""] * len(absent), {}, caption))
    return found
