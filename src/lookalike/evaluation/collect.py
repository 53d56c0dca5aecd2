"""Gather all predictions of a study into two small files that tables and figures read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from lookalike.errors import LookalikeError
from lookalike.evaluation.metrics import BINS, bin_of, real_accuracy, summarise
from lookalike.files import writing
from lookalike.plan import Evaluation, Plan

KEYS = ["dataset", "size", "model", "mode", "evaluation_set", "seed"]


def collect_metrics(plan: Plan) -> None:
    """Write metrics.csv, class_metrics.csv and reliability.csv below results/<study>/tables/.

    `metrics.csv` has one row an evaluation, `class_metrics.csv` one a class of it, `reliability.csv` one a
    confidence bin of it. Fractions, not percent; likelihoods in nats.
    """
    whole, classes, bins = [], [], []
    for evaluation in plan.evaluations():
        frame = read_predictions(evaluation)
        key = evaluation_key(evaluation)
        whole.append({**key, **_metrics(frame)})
        for label, part in frame.groupby("label"):
            classes.append({**key, "label": label, **_metrics(part)})
        which = bin_of(frame.confidence.to_numpy())
        for number in range(BINS):
            part = frame[which == number]
            bins.append(
                {
                    **key,
                    "bin": number,
                    "n": len(part),
                    "confidence": part.confidence.mean() if len(part) else np.nan,
                    "accuracy": (part.label == part.predicted).mean() if len(part) else np.nan,
                }
            )
    folder = plan.folder / "tables"
    for name, rows in {"metrics": whole, "class_metrics": classes, "reliability": bins}.items():
        with writing(folder / f"{name}.csv") as temporary:
            pd.DataFrame(rows).to_csv(temporary, index=False, lineterminator="\n")


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
    path: Path = evaluation.run.predictions(evaluation.mode, evaluation.split)
    try:
        return pq.ParquetFile(path).read().to_pandas()
    except FileNotFoundError:
        raise LookalikeError(f"{path} is missing; run the evaluation again.") from None
    except (OSError, pa.ArrowException) as error:
        raise LookalikeError(f"{path} cannot be read ({error}); delete it and run again.") from None


def _metrics(frame: pd.DataFrame) -> dict[str, float]:
    found = summarise(
        frame.confidence.to_numpy(),
        (frame.label == frame.predicted).to_numpy(),
        frame.log_prob.to_numpy(),
        frame["rank"].to_numpy(),
        frame.brier.to_numpy(),
    )
    if "real_correct" in frame:  # ImageNet only
        correct = [None if value is None or pd.isna(value) else bool(value) for value in frame.real_correct]
        found["real_accuracy"] = real_accuracy(correct)
        found["real_accuracy_upstream"] = real_accuracy(correct, upstream=True)
    return found
