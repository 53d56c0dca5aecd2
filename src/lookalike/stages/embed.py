"""Embed what inference needs: the support of a run, and its queries. Every inference mode reads the result."""

from __future__ import annotations

import time

from lookalike.contracts.features import ImageAccess
from lookalike.core.tensor_store import save_tensors
from lookalike.data.framing import framed_points
from lookalike.methods.embedding import embed as embed_images
from lookalike.stages.opening import open_run
from lookalike.stages.task import Task
from lookalike.tracking.record import write_record


def embed(task: Task) -> None:
    """Write the support and the queries of the evaluation sets that show a data set's own images as they are.

    A run that trains nothing gets its run.json here.

    Raises:
        LookalikeError: Data or weights are missing or damaged, or a class has no image.
    """
    started, begin = time.time(), time.perf_counter()
    opened = open_run(task)
    run, device = task.run, opened.device()
    classifier = opened.classifier()
    classifier.embed_on(device)
    training = opened.training_images(device)
    classifier.build_support(embed_images(classifier, training), opened.seeds.of_run("support"))
    save_tensors(run.support, classifier.support_tensors(), opened.support_origin())
    opened.open_gallery(classifier, training)
    for name in task.plan.unchanged_sets():
        images = opened.images_of(name, opened.data, device)
        access = ImageAccess(images.load, framed_points(opened.data, images.rows))
        queries = classifier.match_queries(embed_images(classifier, images), access)
        save_tensors(run.queries(name), queries.tensors(), opened.queries_origin(name, opened.data))
    if opened.files.weights is None:
        write_record(task.plan, run, opened.data, len(training), str(device), started, time.perf_counter() - begin)
