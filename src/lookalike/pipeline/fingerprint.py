"""What makes a result out of date: one fingerprint for the workflow's parameters, checkpoints and stores.

A fingerprint follows from the keys that a stage reads, its code and that of the method, the network and the data's
reader, the seeds, the threads, and what data the run reads. Comments, layout and keys that are read later leave it.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from lookalike.backbones.registry import BACKBONES
from lookalike.contracts.analysis import Analysis
from lookalike.contracts.settings import ReadingStage, settings_read_by
from lookalike.core.files import digest
from lookalike.core.provenance import code_hash
from lookalike.data.own_images import hash_of_images
from lookalike.data.registry import DATA_SETS
from lookalike.data.settings import DataSettings
from lookalike.methods.registry import METHODS
from lookalike.metrics import GENERAL
from lookalike.pipeline.stage_table import STAGES, Item
from lookalike.reporting.catalogue import Figure, Table
from lookalike.stages.task import GALLERY, Task
from lookalike.study.plan import Plan, RunSpec

VERSION_FILE = "version.txt"  # in the folder of a prepared data set: its `prepared_version`


def task_of(plan: Plan, item: Item) -> Task:
    """The job of an item of a run, with the fingerprints of all stages of that run."""
    assert item.run is not None, item
    run = item.run
    return Task(
        plan=plan,
        run=run,
        fingerprint=lambda stage, name: fingerprint(plan, stage, Item(run, evaluation_set=name)),
        evaluation_set=item.evaluation_set,
        mode=item.mode,
        analysis=item.analysis,
    )


def fingerprint(plan: Plan, stage: str, item: Item) -> str:
    """What makes the result of a stage out of date, besides the content of its input files.

    Args:
        plan: The study.
        stage: Name of a stage that works on runs; `gallery` for prepared training images.
        item: What the stage works on.
    """
    run = item.run
    assert run is not None, item
    parts: list[Any] = [plan.seed, plan.threads, run.id, version_of_entry(plan.datasets[run.dataset])]
    parts.append(_of_model(plan, stage, run, item.analysis))
    if stage in ("train", GALLERY):
        return digest(parts)
    parts.append(plan.datasets[run.dataset].choosing())
    if stage == "train_adversarial_patch":
        patch = plan.adversarial_patch
        parts.append(None if patch is None else patch.model_dump(mode="json"))
    if item.evaluation_set in plan.datasets:
        other = plan.datasets[item.evaluation_set]
        parts += [version_of_entry(other), other.choosing()]
    if stage == "explain":
        parts.append(plan.explained_queries)
    return digest(parts)


def _of_model(plan: Plan, stage: str, run: RunSpec, analysis: Analysis | None) -> list[Any]:
    """The keys that a stage reads of a run's model, and the code it runs."""
    settings, row = plan.settings_of(run), STAGES["embed" if stage == GALLERY else stage]
    reads: ReadingStage = "train" if stage == GALLERY or row.reads is None else row.reads
    modules = [
        row.module,
        METHODS[settings.method].classifier_module,
        BACKBONES[plan.backbone_of(run.model).name].module,
    ]
    modules += [] if analysis is None else [analysis.compute.partition(":")[0]]
    return [settings_read_by(settings, reads, "" if analysis is None else analysis.key), code_hash(modules)]


def code_of(stage: str) -> str:
    """Hash of the code of a stage that belongs to no run."""
    return code_hash([STAGES[stage].module])


def code_of_metrics(plan: Plan) -> str:
    """Hash of the code that collects metrics, those of the study's methods included."""
    modules = (name for entry in plan.models.values() for name in entry.metrics)
    return code_hash(dict.fromkeys([STAGES["collect_metrics"].module, *GENERAL, *modules]))


def drawing_version(plan: Plan, entry: Table | Figure) -> list[Any]:
    """What makes a table or figure out of date, besides its input files."""
    stage = "draw_table" if isinstance(entry, Table) else "draw_figure"
    return [code_hash([STAGES[stage].module, entry.module]), entry.settings(plan)]


def version_of_entry(settings: DataSettings) -> str:
    """A prepared data set and how a study reads it."""
    return f"{prepared_version(settings)} {json.dumps(settings.reading(), sort_keys=True)}"


def prepared_version(settings: DataSettings) -> str:
    """What a prepared data set follows from: registry row, code that reads and prepares it, the user's own files.

    `lookalike data prepare` leaves it beside the images, so that the workflow knows repaired data from other data.
    """
    path = settings.path_of_images
    return _version_of(settings.source, hash_of_images(Path(path)) if path and Path(path).exists() else "")


@cache
def _version_of(source: str, images: str) -> str:
    row = DATA_SETS[source]
    files = " ".join(file.checksum for file in row.files)
    return f"{row.version} {files} {code_hash([STAGES['prepare_data'].module, row.reader])} {images}"
