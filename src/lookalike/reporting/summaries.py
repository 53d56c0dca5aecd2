"""What tables and figures share: metrics read from files, summed up over seeds, written as text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from lookalike.evaluation.agreement import RANKINGS
from lookalike.evaluation.statistics import Summary, summarise_seeds
from lookalike.plan import Plan

GROUP = ["dataset", "size", "model", "mode", "evaluation_set"]
SHARES = (
    "accuracy",
    "explanation_accuracy",
    "example_accuracy",
    "counterfactual_accuracy",
    "vote_accuracy",
    "label_vote_accuracy",
    "found",
)
NOT_NEGATIVE = (
    "used_images",
    *("im1", "iim1", "im2", "trust"),
    *(f"{what}_{ranking}" for what in ("input", "prediction") for ranking in RANKINGS),
)
LIMITS = {
    **dict.fromkeys(SHARES, (0.0, 1.0)),
    **dict.fromkeys(NOT_NEGATIVE, (0.0, np.inf)),
    "top5": (0.0, 1.0),
    "real_accuracy": (0.0, 1.0),
    "ece": (0.0, 1.0),
    "ece_tempered": (0.0, 1.0),
    "auroc": (0.0, 1.0),
    "fpr95": (0.0, 1.0),
    "adaptive_ece": (0.0, 1.0),
    "nll": (0.0, np.inf),
    "brier": (0.0, 2.0),
}


def read_metrics(plan: Plan, name: str = "metrics") -> pd.DataFrame:
    """A file of `collect_metrics`, rows in the order of the study; of metrics.csv those of classifiers."""
    frame = pd.read_csv(plan.folder / "tables" / f"{name}.csv", dtype={"size": str})
    return frame[frame.accuracy.notna()].reset_index(drop=True) if name == "metrics" else frame


def read_densities(plan: Plan) -> pd.DataFrame:
    """metrics.csv, the rows of methods that model images and classify nothing included."""
    return pd.read_csv(plan.folder / "tables" / "metrics.csv", dtype={"size": str})


def of_several_sizes(frame: pd.DataFrame) -> pd.DataFrame:
    """The models that were trained on more than one number of images, data set by data set."""
    counts = frame.groupby(["dataset", "model"])["size"].transform("nunique")
    return frame[counts > 1]


def over_seeds(frame: pd.DataFrame, metrics: list[str], group: list[str]) -> pd.DataFrame:
    """Mean, std and 95 % interval of each metric over seeds, one row a group, order kept."""
    rows = []
    for key, part in frame.groupby(group, sort=False):
        row: dict[str, Any] = dict(zip(group, key, strict=True))
        for metric in metrics:
            row |= summary_columns(metric, summarise_seeds(part[metric].to_numpy()))
        row["seeds"] = len(part)
        rows.append(row)
    return pd.DataFrame(rows)


def summary_columns(name: str, summary: Summary) -> dict[str, float]:
    """Mean, standard deviation and ends of the interval, as columns named after the metric."""
    return {
        name: summary.mean,
        f"{name}_std": summary.std,
        f"{name}_low": summary.low,
        f"{name}_high": summary.high,
    }


def possible(metric: str, low: float, high: float) -> tuple[float, float]:
    """The part of an interval that the metric can take."""
    least, most = LIMITS.get(metric, (-np.inf, np.inf))
    return max(low, least), min(high, most)


def interval(row: pd.Series, metric: str, scale: float, digits: int) -> str:
    """`98.80 [98.37, 99.23]`: mean and 95 % interval over seeds; only the mean for one seed.

    Intervals end where the metric does; the CSV has them as computed.
    """
    low, high = possible(metric, row[f"{metric}_low"], row[f"{metric}_high"])
    if np.isnan(row[metric]):
        return ""
    mean, low, high = f"{row[metric] * scale:.{digits}f}", low * scale, high * scale
    return mean if np.isnan(row[f"{metric}_low"]) else f"{mean} [{low:.{digits}f}, {high:.{digits}f}]"


def heading_columns(frame: pd.DataFrame) -> pd.DataFrame:
    """Heading columns; a column that never varies is left out."""
    headings = {
        "dataset": "Data set",
        "size": "Size",
        "model": "Model",
        "mode": "Mode",
        "evaluation_set": "Evaluated on",
    }
    kept = [name for name in GROUP if name in ("model", "mode") or frame[name].nunique() > 1]
    return frame[kept].rename(columns=headings)
