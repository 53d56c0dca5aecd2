"""Embed changed images, or those of another data set, beside the support of a run."""

from __future__ import annotations

from dataclasses import replace

from lookalike.contracts.features import ImageAccess
from lookalike.core.errors import LookalikeError
from lookalike.core.tensor_store import save_tensors
from lookalike.data.framing import framed_points
from lookalike.methods.embedding import embed as embed_images
from lookalike.stages.opening import open_run
from lookalike.stages.task import Task


def embed_queries(task: Task) -> None:
    """Write the queries of one evaluation set: changed images, or those of another entry, beside a run's support.

    Raises:
        LookalikeError: The run has no such set; data, weights or support are missing or damaged; or the two data sets
            do not fit.
    """
    if task.evaluation_set not in task.plan.sets_embedded_later(task.run):
        raise LookalikeError(
            f"{task.evaluation_set} is no changed or foreign evaluation set of {task.run.dataset}; see the study."
        )
    opened, name = open_run(task), task.evaluation_set
    device = opened.device()
    classifier = opened.classifier_with_support()
    classifier.embed_on(device)
    opened.open_gallery(classifier, opened.training_images(device))
    data = opened.data_of(name)
    images = opened.images_of(name, data, device)
    queries = embed_images(classifier, images)
    if data.settings.evaluated_with and data.settings.class_subset == "present":
        queries = replace(queries, class_subset=queries.labels.unique())
    points = framed_points(data, images.rows) if data.stored_shape == data.image_shape else None
    matched = classifier.match_queries(queries, ImageAccess(images.load, points))
    save_tensors(task.run.queries(name), matched.tensors(), opened.queries_origin(name, data))
