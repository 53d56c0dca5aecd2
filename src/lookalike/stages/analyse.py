"""Run one analysis of a method, and write what it gives."""

from __future__ import annotations

import importlib

import pyarrow as pa

from lookalike.contracts.settings import key_of
from lookalike.core.tables import write_table
from lookalike.core.tensor_store import save_tensors
from lookalike.methods.analysis_input import AnalysisInput
from lookalike.stages.opening import open_run
from lookalike.stages.task import Task
from lookalike.study.plan import AnalysisRun


def analyse(task: Task) -> str:
    """Write the output of an analysis of a run.

    Returns:
        What was written, in a few words.

    Raises:
        LookalikeError: Data, weights or support are missing or damaged.
    """
    analysis = task.analysis
    assert analysis is not None, task.run.id
    opened = open_run(task)
    classifier, device = opened.classifier_with_support(), opened.device()
    classifier.embed_on(device)
    given = AnalysisInput(
        run=task.run.id,
        classifier=classifier,
        data=opened.data,
        queries=opened.queries(task.evaluation_set, opened.data),
        training_rows=opened.training_rows(),
        evaluation_set=task.evaluation_set,
        settings=key_of(opened.settings, analysis.key) if analysis.key else None,
        device=device,
        seeds=opened.seeds,
        open_gallery=lambda: opened.open_gallery(classifier, opened.training_images(device)),
    )
    module, _, name = analysis.compute.partition(":")
    content = getattr(importlib.import_module(module), name)(given)
    analysis_run = AnalysisRun(task.run, analysis, task.evaluation_set)
    origin = {**analysis_run.origin, **opened.content_origin(opened.data)}
    if analysis.suffix == "safetensors":
        save_tensors(analysis_run.output, content, origin)
        return f"{len(content)} tensors"
    table = pa.table(content)
    write_table(analysis_run.output, table, origin)
    return f"{len(table)} rows"
