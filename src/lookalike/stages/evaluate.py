"""Classify an evaluation set in one mode and write one row a query.

The file is all that tables and figures need: no model, no images, no GPU.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from lookalike.contracts.classifier import Classifier, Prediction
from lookalike.contracts.features import Features
from lookalike.core.errors import LookalikeError
from lookalike.core.tables import write_table
from lookalike.metrics.metric import load_metrics
from lookalike.metrics.real_labels import real_correct
from lookalike.metrics.tempering import temperature
from lookalike.stages.opening import open_run
from lookalike.stages.task import Task
from lookalike.study.plan import Evaluation

OF_TRUTH = ("log_prob", "rank", "brier")  # columns that need a true class


def evaluate(task: Task) -> None:
    """Write predictions.parquet of a run, mode and evaluation set.

    Raises:
        LookalikeError: Data, weights or support are missing or damaged, a probability is not a number, or the method
            gives a column that no metric takes.
    """
    opened, mode, run = open_run(task), task.mode, task.run
    data = opened.data_of(task.evaluation_set)
    queries = opened.queries(task.evaluation_set, data)
    classifier = opened.classifier_with_support()
    columns = _checked_metrics(task, classifier, queries)
    if not opened.settings.classifies:
        columns = {"id": queries.ids, "label": queries.labels, **columns}
        if any(bool(values.isnan().any()) for values in columns.values()):
            raise LookalikeError(f"{run.id} gives densities that are not numbers; train the run again.")
        table = pa.table({name: _array(values) for name, values in columns.items()})
    else:
        prediction = classifier.predict(queries, mode)
        lost = prediction.log_probs.isnan().any(1) | prediction.log_probs.amax(1).isinf()
        if bool(lost.any()):
            raise LookalikeError(
                f"{run.id} gives image {int(queries.ids[lost.nonzero()[0, 0]])} and {int(lost.sum()) - 1} others no "
                f"probabilities in mode {mode}; train the run again."
            )
        if queries.class_subset is not None:
            prediction = prediction.among(queries.class_subset)
        answers = data.column("answers")[_array(queries.ids)] if "answers" in data.columns else None
        has_classes = data.settings.ood_for is None
        table = evaluation_table(prediction, queries, columns, has_classes, answers)
    evaluation = Evaluation(run, mode, task.evaluation_set)
    write_table(evaluation.predictions, table, {**evaluation.origin, **opened.content_origin(data)})


def _checked_metrics(task: Task, classifier: Classifier, queries: Features) -> dict[str, Tensor]:
    """The method's own columns.

    Raises:
        LookalikeError: A column has no metric.
    """
    columns = classifier.query_metrics(queries, task.mode)
    settings = task.plan.models[task.run.model]
    taken = {column for metric in load_metrics(settings.metrics).values() for column in metric.columns}
    unknown = [name for name in columns if name not in {*taken, *settings.ood_scores}]
    if unknown:
        raise LookalikeError(
            f"method {settings.method} gives the column {unknown[0]!r}, which no metric takes; declare a metric of it "
            f"in a module that {type(settings).__name__}.metrics names, or a score in its ood_scores."
        )
    return columns


def evaluation_table(
    prediction: Prediction,
    queries: Features,
    columns: dict[str, Tensor],
    has_classes: bool,
    answers: np.ndarray | None = None,
) -> pa.Table:
    """One row a query, and one a query and draw where a mode has several.

    Args:
        prediction: Prediction of the queries.
        queries: Embedded queries.
        columns: Further columns, (B,) or (K, B).
        has_classes: Whether the queries are of known classes.
        answers: Lists of right classes of each query, where the data set has them.
    """
    temperatures = fitted_temperatures(prediction, queries) if has_classes else None
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
        for name, values in columns.items():
            table = table.append_column(name, pa.array(_array(values if values.ndim == 1 else values[number])))
        if answers is not None:
            correct = real_correct(drawn.predicted(), answers)
            table = table.append_column("real_correct", pa.array(correct, pa.bool_()))
        tables.append(table)
    return pa.concat_tables(tables)


def prediction_table(prediction: Prediction, queries: Features) -> pa.Table:
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
    of_label = log_probs[every, labels][:, None]
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
            "log_prob": of_label[:, 0],
            "rank": ((log_probs > of_label) | ((log_probs == of_label) & earlier)).sum(1),
            "brier": np.square(probabilities - truth).sum(1),
        }
    )


def fitted_temperatures(prediction: Prediction, queries: Features) -> Tensor:
    """(B,) by which each query's log-probabilities are divided: fitted on the half of the queries it is not in."""
    log_probs, labels = _array(prediction.log_probs), _array(queries.labels)
    half = np.argsort(np.argsort(_array(queries.ids), kind="stable")) % 2
    temperatures = np.ones(len(labels))
    for number in range(2 if len(labels) > 1 else 0):
        others = half != number
        temperatures[half == number] = temperature(log_probs[others], labels[others])
    return torch.from_numpy(temperatures)


def _array(tensor: Tensor) -> np.ndarray:
    array: np.ndarray = tensor.detach().cpu().numpy()
    return array
