"""Gather all predictions of a study into two small files that tables and figures read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from lookalike.errors import LookalikeError
from lookalike.evaluation.agreement import RANKINGS, TopItems
from lookalike.evaluation.metrics import BINS, auroc, bin_of, ece, fpr95, real_accuracy, summarise
from lookalike.files import writing
from lookalike.plan import Evaluation, Plan

UPSTREAM_BATCH = 256  # queries whose mean the example-quality script of Memory Wrap takes the mean of
# Column of predictions.parquet -> its sign, so that higher means more like the training images.
OUTLIER_SCORES = {"confidence": 1, "entropy": -1, "log_density": 1, "typicality": 1}
KEYS = ["dataset", "size", "model", "mode", "evaluation_set", "seed"]


def collect_metrics(plan: Plan) -> None:
    """Write metrics.csv, class_metrics.csv, reliability.csv and outlier_metrics.csv below results/<study>/tables/.

    `metrics.csv` has one row an evaluation, `class_metrics.csv` one a class of it, `reliability.csv` one a
    confidence bin of it, `outlier_metrics.csv` one a score by which a model tells another data set's images from its
    own. Fractions, not percent; likelihoods in nats.
    """
    whole, classes, bins = [], [], []
    for evaluation in plan.evaluations():
        frame = read_predictions(evaluation)
        key = evaluation_key(evaluation)
        whole.append({**key, **measure_predictions(frame)})
        if "predicted" not in frame:  # a density of images, no classes
            continue
        for label, part in frame.groupby("label"):
            classes.append({**key, "label": label, **measure_predictions(part)})
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
    folder = plan.folder / "tables"
    strange = pd.DataFrame(
        [row for evaluation in plan.outliers() for row in _outlier_metrics(evaluation)],
        columns=[*KEYS, "score", "auroc", "fpr95", "n_inside", "n_outside"],
    )
    tables: dict[str, Any] = {
        "metrics": whole,
        "class_metrics": classes,
        "reliability": bins,
        "outlier_metrics": strange,
    }
    for name, rows in tables.items():
        with writing(folder / f"{name}.csv") as temporary:
            pd.DataFrame(rows).to_csv(temporary, index=False, lineterminator="\n")


def _outlier_metrics(evaluation: Evaluation) -> list[dict[str, object]]:
    """One row a score: how well it tells the outliers of an evaluation from the test images of its run."""
    outside = _mean_of_draws(read_predictions(evaluation))
    inside = _mean_of_draws(read_predictions(replace(evaluation, split="test")))
    found: list[dict[str, object]] = []
    for score, sign in OUTLIER_SCORES.items():
        if score in outside:
            here, there = (sign * frame[score].to_numpy() for frame in (inside, outside))
            row = {"score": score, "auroc": auroc(here, there), "fpr95": fpr95(here, there)}
            found.append({**evaluation_key(evaluation), **row, "n_inside": len(here), "n_outside": len(there)})
    return found


def _mean_of_draws(frame: pd.DataFrame) -> pd.DataFrame:
    """Predictions with one row a query."""
    return frame.groupby("id", as_index=False).mean(numeric_only=True) if "draw" in frame else frame


def evaluation_key(evaluation: Evaluation) -> dict[str, object]:
    """The columns that name an evaluation."""
    run = evaluation.run
    values = (run.dataset, run.size, run.model, evaluation.mode, evaluation.split, run.seed)
    return dict(zip(KEYS, values, strict=True))


def read_predictions(evaluation: Evaluation) -> pd.DataFrame:
    """predictions.parquet of an evaluation.

    Raises:
        LookalikeError: the file is missing or damaged.
    """
    return read_table(evaluation.run.predictions(evaluation.mode, evaluation.split))


def read_table(path: Path) -> pd.DataFrame:
    """A parquet file of a run.

    Raises:
        LookalikeError: the file is missing or damaged.
    """
    try:
        return pq.ParquetFile(path).read().to_pandas()
    except FileNotFoundError:
        raise LookalikeError(f"{path} is missing; run the stage that writes it again.") from None
    except (OSError, pa.ArrowException) as error:
        raise LookalikeError(f"{path} cannot be read ({error}); delete it and run again.") from None


def measure_predictions(frame: pd.DataFrame) -> dict[str, float]:
    """Metrics of an evaluation; where a mode has several draws, the mean over them."""
    if "draw" in frame:
        drawn = pd.DataFrame([measure_predictions(part) for _, part in frame.drop(columns="draw").groupby(frame.draw)])
        means = {str(name): float(value) for name, value in drawn.mean().items()}
        return {**means, "n": int(drawn["n"].iloc[0])}
    densities = {"bits_per_dim": float(frame.bits_per_dim.mean())} if "bits_per_dim" in frame else {}
    if "predicted" not in frame:
        return {"n": len(frame), **densities}
    found = summarise(
        frame.confidence.to_numpy(),
        (frame.label == frame.predicted).to_numpy(),
        frame.log_prob.to_numpy(),
        frame["rank"].to_numpy(),
        frame.brier.to_numpy(),
    )
    hits = (frame.label == frame.predicted).to_numpy()
    found["ece_tempered"] = ece(frame.tempered_confidence.to_numpy(), hits)
    if "real_correct" in frame:  # ImageNet only
        correct = [None if value is None or pd.isna(value) else bool(value) for value in frame.real_correct]
        found["real_accuracy"] = real_accuracy(correct)
        found["real_accuracy_upstream"] = real_accuracy(correct, upstream=True)
    if "top_predicted" in frame:
        found |= _explanation_metrics(frame)
    found |= densities
    if "reconstruction_error" in frame:
        found["reconstruction_error"] = float(frame.reconstruction_error.max())
        found["changed_pixels"] = int(frame.changed_pixels.sum())
    return found


def _explanation_metrics(frame: pd.DataFrame) -> dict[str, float]:
    """How good a memory's explanations are; see `Model.measures` of Memory Wrap.

    Non-representativeness is the mean over queries that have an example; `_upstream` is the original's number: over all
    queries, the best-ranked image standing in, as the mean of means over batches of 256.
    """
    tops = TopItems((frame.label == frame.predicted).to_numpy(), (frame.top_predicted == frame.predicted).to_numpy())
    found = {
        "explanation_accuracy": tops.explanation_accuracy,
        "example_accuracy": tops.example_accuracy,
        "counterfactual_accuracy": tops.counterfactual_accuracy,
        "vote_accuracy": float((frame.vote_predicted == frame.label).mean()),
        "label_vote_accuracy": float((frame.vote_label == frame.label).mean()),
        "used_images": float(frame.used.mean()),
        "has_example": float(frame.has_example.mean()),
    }
    batches = np.arange(len(frame)) // UPSTREAM_BATCH
    for name in (f"{what}_{ranking}" for what in ("input", "prediction") for ranking in RANKINGS):
        found[name] = float(frame.loc[frame.has_example, name].mean())
        found[f"{name}_upstream"] = float(frame[name].groupby(batches).mean().mean())
    return found
