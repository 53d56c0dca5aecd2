"""One evaluation: classify an evaluation set in one mode and write one row a query.

The file is all that tables and figures need: no model, no images, no GPU.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from lookalike.data.prepared import open_queries
from lookalike.errors import LookalikeError
from lookalike.evaluation.metrics import fit_temperature, real_correct
from lookalike.files import writing
from lookalike.methods.base import Embedded, Prediction
from lookalike.methods.registry import load_method
from lookalike.plan import RunSpec
from lookalike.support.precompute import load_run

OF_TRUTH = ("log_prob", "rank", "brier")  # columns that need a true class


def evaluate(run: RunSpec, mode: str, split: str) -> None:
    """Write eval/<mode>@<set>/predictions.parquet of a run.

    Raises:
        LookalikeError: data, weights or support are missing or damaged, or a probability is not a number.
    """
    data, classifier, queries = load_run(run, split)
    if not load_method(run.settings["method"]).Settings.classifies:
        columns = {"id": queries.ids, "label": queries.labels, **classifier.measures(queries, mode)}
        if any(bool(values.isnan().any()) for values in columns.values()):
            raise LookalikeError(f"{run.id} gives densities that are not numbers; train the run again.")
        with writing(run.predictions(mode, split)) as temporary:
            pq.write_table(pa.table({name: _array(values) for name, values in columns.items()}), temporary)
        return
    prediction = classifier.predict(queries, mode)
    if bool(prediction.log_probs.isnan().any()):
        raise LookalikeError(f"{run.id} gives probabilities that are not numbers in mode {mode}; train the run again.")
    if queries.competing is not None:
        prediction = prediction.among(queries.competing)
    measures = classifier.measures(queries, mode)
    asked = open_queries(run, data, split)
    known = split not in run.plan.outlier_sets(run.dataset, run.size)
    temperatures = fitted_temperatures(prediction, queries) if known else None
    tables = []
    for number, log_probs in enumerate(prediction.log_probs[None] if prediction.draws is None else prediction.draws):
        drawn = Prediction(log_probs)
        table = prediction_table(drawn, queries)
        if temperatures is None:
            table = table.drop_columns(OF_TRUTH)
        else:
            tempered = _array((drawn.log_probs / temperatures[:, None]).log_softmax(1).amax(1).exp())
            table = table.append_column("tempered_confidence", pa.array(tempered))
        if prediction.draws is not None:
            table = table.append_column("draw", pa.array(np.full(len(queries), number)))
        for name, values in measures.items():
            table = table.append_column(name, pa.array(_array(values if values.ndim == 1 else values[number])))
        if "answers" in asked.columns:
            right = asked.column("answers")[_array(queries.ids)]
            table = table.append_column("real_correct", pa.array(real_correct(drawn.predicted(), right), pa.bool_()))
        tables.append(table)
    with writing(run.predictions(mode, split)) as temporary:
        pq.write_table(pa.concat_tables(tables), temporary)


def prediction_table(prediction: Prediction, queries: Embedded) -> pa.Table:
    """One row a query: id, label, predicted, confidence, entropy, log_prob, rank, brier.

    `entropy` is that of the posterior and `log_prob` the log-probability of the true class, both in nats; `rank` the
    number of classes that are more probable (ties count for the lower class index), `brier` the squared distance from
    the truth.
    """
    log_probs = _array(prediction.log_probs)  # (B, C)
    labels = _array(queries.labels)
    every = np.arange(len(labels))
    predicted = prediction.predicted()
    probabilities = np.exp(log_probs)
    own = log_probs[every, labels][:, None]
    earlier = np.arange(log_probs.shape[1]) < labels[:, None]
    truth = np.zeros_like(probabilities)
    truth[every, labels] = 1
    return pa.table(
        {
            "id": _array(queries.ids),
            "label": labels,
            "predicted": predicted,
            "confidence": probabilities[every, predicted],
            "entropy": -(probabilities * np.where(probabilities > 0, log_probs, 0)).sum(1),
            "log_prob": own[:, 0],
            "rank": ((log_probs > own) | ((log_probs == own) & earlier)).sum(1),
            "brier": np.square(probabilities - truth).sum(1),
        }
    )


def fitted_temperatures(prediction: Prediction, queries: Embedded) -> Tensor:
    """(B,) by which each query's log-probabilities are divided: fitted on the half of the queries it is not in."""
    log_probs, labels = _array(prediction.log_probs), _array(queries.labels)
    half = np.argsort(np.argsort(_array(queries.ids), kind="stable")) % 2
    found = np.ones(len(labels))
    for number in range(2 if len(labels) > 1 else 0):
        others = half != number
        found[half == number] = fit_temperature(log_probs[others], labels[others])
    return torch.from_numpy(found)


def _array(tensor: Tensor) -> np.ndarray:
    array: np.ndarray = tensor.detach().cpu().numpy()
    return array
