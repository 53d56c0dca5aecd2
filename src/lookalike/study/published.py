"""Published numbers: workflow/published/*.csv, one row a number, checked line by line.

docs/how-to/published-numbers.md says how to add one.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from lookalike.core.errors import LookalikeError

if TYPE_CHECKING:
    from lookalike.study.plan import Plan

FOLDER = Path(__file__).parents[3] / "workflow" / "published"
COLUMNS = (
    "paper",
    "table",
    "row",
    "column",
    "value",
    "unit",
    "spread",
    "spread_kind",
    "n",
    "mark",
    "tolerance",
    "reproduced_by",
    "source",
    "note",
)
UNITS = ("%", "points", "s", "hours", "count", "p", "nats", "bits/dim", "confidence", "listed", "FID")
# `recomputed`: by the project from released data; `unreadable`: known to be published, but seen by nobody here.
MARKS = ("published", "recomputed", "third-party", "unreadable")
SPREADS = ("sd over seeds", "sd over sessions")
# Tables of an analysis -> the key of its entry that they need; all others need trials.
NEEDS = {"team": "tuning_images"} | dict.fromkeys(("classifiers", "by_confidence", "agreement"), "classifier_outputs")
ADDRESS = re.compile(
    r"human:(?P<entry>[a-z][a-z0-9_]*)/(?P<table>[^/;]+)/(?P<row>[^/;]+)/(?P<column>[^/;.]+)(?P<sd>\.sd)?"
    r"|run:(?P<dataset>[^/;]+)/(?P<model>[^/;]+)/(?P<size>[^/;]+)/(?P<mode>[^/;@]+)@(?P<evaluation_set>[^/;]+)/(?P<metric>[^/;]+)"
)


@dataclass(frozen=True)
class Address:
    """Where a reproduced number stands: a cell of an analysed human study, or a metric of an evaluation.

    Attributes:
        text: The address as written.
        parts: Words of the address by name.
    """

    text: str
    parts: dict[str, str]

    @property
    def is_run(self) -> bool:
        """Whether a run gives it."""
        return "dataset" in self.parts

    def is_in(self, plan: Plan) -> bool:
        """Whether a study makes it."""
        p = self.parts
        if not self.is_run:
            entry = plan.human_studies.get(p["entry"])
            needed = NEEDS.get(p["table"], "trials")
            if p["table"] == "confusing" and p["row"] != "all":
                needed = "queries"
            return entry is not None and bool(getattr(entry, needed))
        return (
            p["dataset"] in plan.datasets
            and p["model"] in plan.models
            and p["size"] in plan.sizes
            and plan.has_cell(p["dataset"], p["model"], p["size"])
            and p["mode"] in plan.models[p["model"]].modes
            and p["evaluation_set"] in plan.sets_of(p["dataset"])
        )


@dataclass(frozen=True)
class Published:
    """One published number; `value` and `spread` as printed, to know how many digits they have.

    Attributes:
        paper, table, row, column: Place of the number in print.
        value: The number; empty where nobody could read it.
        unit: Unit of value, spread and tolerance.
        spread: Standard deviation; empty where none is given.
        spread_kind: What the standard deviation is taken over.
        n: Runs or sessions behind the number; None where not given.
        mark: How the number is known.
        tolerance: Largest distance of a match; a share of the value where it ends in %.
        addresses: Places of its reproductions.
        source: Page or file that prints the number.
        note: Remark for the reader.
    """

    paper: str
    table: str
    row: str
    column: str
    value: str
    unit: str
    spread: str
    spread_kind: str
    n: int | None
    mark: str
    tolerance: str
    addresses: tuple[Address, ...]
    source: str
    note: str

    @property
    def decimals(self) -> int:
        """Digits after the point, as printed; of 3.8e-6 seven."""
        mantissa, _, exponent = self.value.lower().partition("e")
        return len(mantissa.partition(".")[2]) - int(exponent or 0)


def published_names() -> list[str]:
    """The files there are."""
    return sorted(path.stem for path in FOLDER.glob("*.csv"))


@cache
def read_published(name: str, folder: Path = FOLDER) -> tuple[Published, ...]:
    """The rows of a file.

    Args:
        name: Name of the file, without .csv.
        folder: Folder that holds it.

    Raises:
        LookalikeError: The message names the file, the line and what is wrong.
    """
    path = folder / f"{name}.csv"
    try:
        with open(path, newline="", encoding="utf-8-sig") as handle:
            reader = csv.DictReader(handle)
            if tuple(reader.fieldnames or ()) != COLUMNS:
                raise LookalikeError(f"{path}, line 1: the columns must be {','.join(COLUMNS)}.")
            rows: list[Published] = []
            seen: dict[tuple[str, ...], int] = {}
            for values in reader:
                row = _check(values, f"{path}, line {reader.line_num}")
                key = (row.paper, row.table, row.row, row.column)
                if key in seen:
                    where = f"{row.table}, {row.row}, {row.column}"
                    raise LookalikeError(
                        f"{path}, line {reader.line_num}: {where} stands in line {seen[key]} already; take one out."
                    )
                seen[key] = reader.line_num
                rows.append(row)
    except FileNotFoundError:
        raise LookalikeError(f"{path} is missing; there are {', '.join(published_names())}.") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise LookalikeError(f"{path} is no CSV file in UTF-8 ({error}); save it as one.") from None
    return tuple(rows)


def _check(values: dict[str, str], where: str) -> Published:
    def wrong(reason: str) -> LookalikeError:
        return LookalikeError(f"{where}: {reason}")

    if None in values or None in values.values():
        raise wrong(f"it has not {len(COLUMNS)} cells; put text with commas into quotes.")
    given = {key: text.strip() for key, text in values.items()}
    for key in ("paper", "table", "row", "column", "source"):
        if not given[key]:
            raise wrong(f"{key} is empty; write it.")
    if given["mark"] not in MARKS:
        raise wrong(f"mark is {given['mark']!r}; it must be one of {', '.join(MARKS)}.")
    if given["mark"] == "unreadable":
        if given["value"] or not given["note"]:
            raise wrong("what nobody could read has no value, and a note that says why.")
    else:
        if _number(given["value"]) is None:
            raise wrong(f"value is {given['value']!r}, which is no number; unreadable numbers have mark unreadable.")
        if given["unit"] not in UNITS:
            raise wrong(f"unit is {given['unit']!r}; it must be one of {', '.join(UNITS)}.")
    for key in ("spread", "tolerance"):
        number = given[key].removesuffix("%") if key == "tolerance" else given[key]
        if number and (_number(number) is None or float(number) < 0):
            raise wrong(f"{key} is {given[key]!r}, which is no number of at least 0.")
    if bool(given["spread"]) != bool(given["spread_kind"]):
        raise wrong("spread and spread_kind belong together; give both or neither.")
    if given["spread_kind"] and given["spread_kind"] not in SPREADS:
        raise wrong(f"spread_kind is {given['spread_kind']!r}; it must be one of {', '.join(SPREADS)}.")
    if given["n"] and not (given["n"].isdecimal() and int(given["n"])):
        raise wrong(f"n is {given['n']!r}, which is no whole number above 0.")
    addresses = []
    for text in filter(None, map(str.strip, given.pop("reproduced_by").split(";"))):
        match = ADDRESS.fullmatch(text)
        if match is None:
            raise wrong(
                f"reproduced_by has {text!r}; write human:ENTRY/TABLE/ROW/COLUMN or "
                "run:DATASET/MODEL/SIZE/MODE@SET/METRIC, several with ; between."
            )
        addresses.append(Address(text, {k: v for k, v in match.groupdict().items() if v is not None}))
    return Published(**{**given, "n": int(given["n"]) if given["n"] else None, "addresses": tuple(addresses)})  # type: ignore[arg-type]


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def published_rows(plan: Plan) -> Iterator[Published]:
    """The published numbers that a study names, in its order."""
    for name in plan.published:
        yield from read_published(name)
