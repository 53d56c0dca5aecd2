"""Gather all predictions of a study into small files that tables and figures read."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from lookalike.core.tables import read_table
from lookalike.metrics import GENERAL, auroc, fpr95
from lookalike.metrics.calibration import BINS, bin_of
from lookalike.metrics.metric import Metric, compute_metrics, load_metrics
from lookalike.metrics.ood import OOD_SCORES
from lookalike.study.plan import Evaluation, Plan

KEYS = ["dataset", "size", "model", "mode", "evaluation_set", "seed"]


def metrics_of(plan: Plan) -> dict[str, Metric]:
    """All metrics of a study's models, by name: the general ones, and those that methods declare."""
    modules = dict.fromkeys([*GENERAL, *(name for entry in plan.models.values() for name in entry.metrics)])
    return load_metrics(modules)


def collect(plan: Plan) -> dict[str, pd.DataFrame]:
    """The metrics of all evaluations of a study: tables metrics, class_metrics, reliability and ood_metrics.

    `metrics` has one row an evaluation, `class_metrics` one a class of it, `reliability` one a
    confidence bin of it, `ood_metrics` one a score by which a model tells another data set's images from its
    own. Fractions, not percent; likelihoods in nats.

    Raises:
        LookalikeError: A file of predictions is missing or damaged.
    """
    metrics = metrics_of(plan)
    whole, classes, bins = [], [], []
    for evaluation in plan.evaluations():
        frame = read_predictions(evaluation)
        key = evaluation_key(evaluation)
        whole.append({**key, **measure_predictions(frame, metrics)})
        if "predicted" not in frame:  # a density of images, no classes
            continue
        for label, part in frame.groupby("label"):
            classes.append({**key, "label": label, **measure_predictions(part, metrics)})
        which = bin_of(frame.confidence.to_numpy())
        draws = frame.draw.nunique() if "draw" in frame else 1  # several answers a query are no more queries
        for number in range(BINS):
            part = frame[which == number]
            bins.append(
                {
                    **key,
                    "bin": number,
                    "n": len(part) / draws,
                    "confidence": part.confidence.mean() if len(part) else np.nan,
                    "accuracy": (part.label == part.predicted).mean() if len(part) else np.nan,
                }
            )
    ood = pd.DataFrame(
        [row for evaluation in plan.ood_evaluations() for row in _ood_metrics(plan, evaluation)],
        columns=[*KEYS, "score", "auroc", "fpr95", "n_inside", "n_outside"],
    )
    tables = {"metrics": whole, "class_metrics": classes, "reliability": bins}
    return {**{name: pd.DataFrame(rows) for name, rows in tables.items()}, "ood_metrics": ood}


def _ood_metrics(plan: Plan, evaluation: Evaluation) -> list[dict[str, object]]:
    """One row a score: how well it tells the images of an evaluation from the test images of its run."""
    outside = _mean_of_draws(read_predictions(evaluation))
    inside = _mean_of_draws(read_predictions(replace(evaluation, evaluation_set="test")))
    rows: list[dict[str, object]] = []
    for score, sign in {**OOD_SCORES, **plan.models[evaluation.run.model].ood_scores}.items():
        if score in outside:
            inner, outer = (sign * frame[score].to_numpy() for frame in (inside, outside))
            row = {"score": score, "auroc": auroc(inner, outer), "fpr95": fpr95(inner, outer)}
            rows.append({**evaluation_key(evaluation), **row, "n_inside": len(inner), "n_outside": len(outer)})
    return rows


def _mean_of_draws(frame: pd.DataFrame) -> pd.DataFrame:
    """Predictions with one row a query."""
    return frame.groupby("id", as_index=False).mean(numeric_only=True) if "draw" in frame else frame


def evaluation_key(evaluation: Evaluation) -> dict[str, object]:
    """The columns that name an evaluation."""
    run = evaluation.run
    values = (run.dataset, run.size, run.model, evaluation.mode, evaluation.evaluation_set, run.seed)
    return dict(zip(KEYS, values, strict=True))


def read_predictions(evaluation: Evaluation) -> pd.DataFrame:
    """Read predictions.parquet of an evaluation.

    Raises:
        LookalikeError: The file is missing or damaged, or is of another evaluation.
    """
    return read_table(evaluation.predictions, evaluation.origin, ("id", "label")).to_pandas()


def measure_predictions(frame: pd.DataFrame, metrics: dict[str, Metric]) -> dict[str, float]:
    """Metrics of an evaluation; where a mode has several draws, the mean over them.

    Args:
        frame: Predictions, one row a query (and draw).
        metrics: Metrics by name; those whose columns are missing are left out.
    """
    if "draw" in frame:
        parts = frame.drop(columns="draw").groupby(frame.draw)
        drawn = pd.DataFrame([measure_predictions(part, metrics) for _, part in parts])
        means = {str(name): float(value) for name, value in drawn.mean().items()}
        return {**means, "n": int(drawn["n"].iloc[0])}
    columns: dict[str, Any] = {str(name): frame[name].to_numpy() for name in frame}
    if "predicted" in frame:
        columns["correct"] = (frame.label == frame.predicted).to_numpy()
    if "real_correct" in frame:  # ImageNet only
        columns["real_correct"] = [
            None if value is None or pd.isna(value) else bool(value) for value in frame.real_correct
        ]
    return compute_metrics(metrics, columns)
