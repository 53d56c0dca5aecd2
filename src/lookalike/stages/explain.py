"""Explain a sample of queries of a run."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lookalike.contracts.classifier import Classifier
from lookalike.contracts.explanation import write_explanations
from lookalike.contracts.features import Features
from lookalike.core.determinism import make_generator
from lookalike.data.images import open_images
from lookalike.stages.opening import open_run
from lookalike.stages.task import Task
from lookalike.study.plan import Evaluation


def explain(task: Task) -> None:
    """Write explanation records of the study's sampled queries.

    Raises:
        LookalikeError: Data, weights or support are missing or damaged.
    """
    opened, mode, name = open_run(task), task.mode, task.evaluation_set
    data, classifier = opened.data, opened.classifier_with_support()
    queries = opened.queries(name, data)
    seed = opened.seeds.of_queries(name, "explained queries")
    sample = queries.rows(sample_queries(classifier, queries, mode, task.plan.explained_queries, seed))
    records = classifier.explain(sample, mode)
    device = opened.device() if opened.settings.explains_with_network else torch.device("cpu")
    classifier.embed_on(device)
    black, white = (open_images(data, np.array([0])).normalised(torch.full((1, 1, 1), value)) for value in (0.0, 1.0))

    def load(ids: list[int]) -> Tensor:
        return open_images(data, np.array(ids)).load(torch.arange(len(ids)))

    def load_on_device(ids: list[int]) -> Tensor:
        return open_images(data, np.array(ids), device).load(torch.arange(len(ids), device=device))

    records = classifier.add_correspondences(records, sample, load_on_device)
    records = classifier.add_attributions(records, load, (black[0], white[0]))
    evaluation = Evaluation(task.run, mode, name)
    write_explanations(evaluation.explanations, records, {**evaluation.origin, **opened.content_origin(data)})


def sample_queries(classifier: Classifier, queries: Features, mode: str, count: int, seed: int) -> Tensor:
    """(count,) rows of queries; half of them, where there are enough, are wrongly classified.

    Those need an explanation most. The sample does not depend on settings of the explanation.

    Args:
        classifier: The classifier with its support.
        queries: Embedded queries.
        mode: Inference mode.
        count: Number of queries; all where there are fewer.
        seed: Seed of the sample.
    """
    wrong = torch.from_numpy(classifier.predict(queries, mode).predicted() != queries.labels.numpy())
    order = torch.randperm(len(queries), generator=make_generator(seed))
    missed, hit = order[wrong[order]], order[~wrong[order]]
    few = min(count // 2, len(missed))
    return torch.cat([hit[: count - few], missed[:few]])
