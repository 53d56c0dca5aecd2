"""What a metric is: a function of columns of predictions, and how its value is shown.

A metric is declared where it is computed; files, tables and trackers take it from there.
"""

from __future__ import annotations

import importlib
import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import TypeVar

import numpy as np

ZERO_PROBABILITY = 1e-12  # a probability of exactly 0 counts as this in the likelihood, as in the NW head's code
Function = TypeVar("Function", bound=Callable[..., float])


@dataclass(frozen=True)
class Metric:
    """A number of a set of predictions.

    Attributes:
        name: Name of the number in files.
        compute: Function of the columns below; each is an array with an entry a query.
        columns: Columns that the function takes.
        heading: Heading of tables, unit included; empty where no general table shows it.
        table: General table that shows it; empty for none.
        scale: Factor of the formatted number; 100 makes percent of a fraction.
        digits: Digits after the point.
        limits: Least and largest value.
    """

    name: str
    compute: Callable[..., float]
    columns: tuple[str, ...]
    heading: str = ""
    table: str = ""
    scale: float = 1
    digits: int = 2
    limits: tuple[float, float] = (-math.inf, math.inf)


def metric(
    heading: str = "",
    table: str = "",
    scale: float = 1,
    digits: int = 2,
    limits: tuple[float, float] = (-math.inf, math.inf),
    name: str = "",
    columns: tuple[str, ...] = (),
) -> Callable[[Function], Function]:
    """Declare a function as a metric; its parameters without a default are the columns it takes.

    Args:
        heading: Heading of tables, unit included.
        table: General table that shows it: `accuracy` or `calibration`.
        scale: Factor of the formatted number.
        digits: Digits after the point.
        limits: Least and largest value.
        name: Name in files; the function's when left out.
        columns: Columns that the function takes, in order; its parameters when left out.
    """

    def declare(function: Function) -> Function:
        taken = columns or tuple(
            parameter.name
            for parameter in inspect.signature(function).parameters.values()
            if parameter.default is parameter.empty
        )
        function.metric = Metric(  # type: ignore[attr-defined]
            name or function.__name__, function, taken, heading, table, scale, digits, limits
        )
        return function

    return declare


def load_metrics(modules: Iterable[str]) -> dict[str, Metric]:
    """The metrics that modules declare, in the order of their text.

    Args:
        modules: Dotted names of the modules.

    Raises:
        ValueError: Two metrics have one name.
    """
    declared: dict[str, Metric] = {}
    for module in map(importlib.import_module, modules):
        for function in _functions(module):
            entry: Metric = function.metric  # type: ignore[attr-defined]
            if declared.setdefault(entry.name, entry) != entry:
                raise ValueError(f"two metrics are called {entry.name!r}; {module.__name__} has one of them")
    return declared


def _functions(module: ModuleType) -> list[Callable[..., float]]:
    """Functions with a declaration that a module itself defines, those in lists of them included."""
    values = [value for part in vars(module).values() for value in (part if isinstance(part, list) else [part])]
    return [
        value for value in values if hasattr(value, "metric") and getattr(value, "__module__", "") == module.__name__
    ]


def mean(values: np.ndarray) -> float:
    """The mean () in the array's own precision, as pandas takes it."""
    return float(values.mean())


def compute_metrics(metrics: Mapping[str, Metric], columns: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The metrics whose columns are there, by name.

    Args:
        metrics: Metrics by name.
        columns: Column -> (M,) values.
    """
    return {
        name: entry.compute(*(columns[column] for column in entry.columns))
        for name, entry in metrics.items()
        if all(column in columns for column in entry.columns)
    }
