"""The contract of tables and figures that belong to a method: what their rows and captions are.

Reporting draws them; a method says what they hold. Declarations alone: neither pandas nor matplotlib is imported.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Column:
    """A number of a table.

    Attributes:
        name: Name of the number in the rows and in the CSV file.
        heading: Heading of the formatted table, unit included.
        scale: Factor of the formatted number; 100 makes percent of a fraction.
        digits: Digits after the point.
        limits: Least and largest value that the number can take; intervals end there.
        over_seeds: `mean` with its 95 % interval, or the largest value of any seed.
        plain: Format of a number that is shown without an interval, `.0f`; empty with an interval.
    """

    name: str
    heading: str
    scale: float = 1
    digits: int = 2
    limits: tuple[float, float] = (-math.inf, math.inf)
    over_seeds: Literal["mean", "max"] = "mean"
    plain: str = ""


@dataclass(frozen=True)
class RunTable:
    """A table with a row a model, mode and evaluation set, summed up over seeds.

    Attributes:
        name: Name of the table and its files.
        label: What the table shows, in a few words.
        columns: The numbers that are shown, in order.
        caption: Sentences below the table.
        needs: Metric without which an evaluation is left out, where the rows are metrics.
        rows: `module:function` that takes the content of an analysis' output and the metrics of the run's first mode,
            and gives a row or several: numbers by name, `mode` where the row's mode is another, and `suffix` for what
            is added to the model's name. Empty where the rows are those metrics themselves.
        csv_columns: Numbers that only the CSV file has, where they are there.
        mode_heading: Heading of the column of modes; empty to leave the column out.
    """

    name: str
    label: str
    columns: tuple[Column, ...]
    caption: str
    rows: str = ""
    needs: str = ""
    csv_columns: tuple[str, ...] = ()
    mode_heading: str = "Mode"


@dataclass(frozen=True)
class ExplanationFigure:
    """A drawing of the explanation records of a run, or of what an analysis left.

    Attributes:
        kind: First part of the figure's name, before that of the explanation: `memory-digits-nw-all-full-test`.
        label: What the figure shows, in a few words.
        caption: Sentences below the figure.
        draw: `module:function` that takes the canvas, what is to be drawn, and the images' `Pictures`.
        key: Dotted key of the settings without which there is nothing to draw; empty where there always is.
    """

    kind: str
    label: str
    caption: str
    draw: str
    key: str = ""


# What methods with exemplars have, unless their settings class names other drawings.
WEIGHTS = ExplanationFigure(
    kind="weights",
    label="heaviest training images",
    caption="Most probable classes and heaviest training images. Blue: the query's true class; orange: another.",
    draw="lookalike.methods.drawing:draw_weights",
)
