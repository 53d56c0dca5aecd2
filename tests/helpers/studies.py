"""Small studies, and their stages called as the workflow calls them."""

import importlib
from pathlib import Path
from typing import Any

from lookalike.pipeline.fingerprint import task_of
from lookalike.pipeline.stage_table import STAGES, Item
from lookalike.pipeline.study_file import plan_of
from lookalike.stages.opening import OpenedRun, open_run
from lookalike.study.plan import Plan, RunSpec


def tiny_study(**changes: Any) -> dict[str, Any]:
    """A study of seconds: 100 digits, two epochs."""
    training = {"epochs": 2, "batch_size": 32, "lr": 0.1, "crop_padding": 1}
    study = {
        "version": 2,
        "name": "tiny",
        "datasets": ["digits"],
        "train_sizes": [100],
        "seeds": [0],
        "explained_queries": 4,
        "models": {
            "fc": {"method": "fc", "training": training},
            "nw": {"method": "nw", "training": training, "inference": {"n_neighbors": 5}},
            "knn": {"method": "knn", "backbone_from": "fc", "inference": {"k": 5}},
        },
    }
    return {**study, **changes}


def whole_study(**changes: Any) -> dict[str, Any]:
    """A study with jobs of every stage, but those of job groups; to be planned, not run."""
    training = {"epochs": 2, "batch_size": 32}
    study = {
        "version": 2,
        "name": "whole",
        "datasets": {
            "digits": {"validation_size": 20},
            "photos": {
                "source": "imagenet",
                "queries": "clean",
                "duplicate_weights": "duplicates.pth",
                "train_sizes": ["all"],
                "evaluation_sets": ["test", "validation"],
                "validation_size": 100,
            },
            "paintings": {"source": "imagenet_r", "evaluated_with": "photos"},
            "creatures": {"source": "critters", "size": 32, "ood_for": "digits", "train_sizes": ["all"]},
        },
        "train_sizes": [100, "all"],
        "seeds": [0, 1],
        "evaluation_sets": ["test", "validation", "test-gaussian_noise-3", "test-adversarial_patch"],
        "adversarial_patch": {"model": "fc", "target": 3},
        "explained_queries": 4,
        "models": {
            "fc": {"method": "fc", "training": training},
            "nw": {"method": "nw", "training": training, "modes": ["full", "knn"], "datasets": ["digits"]},
            "knn": {"method": "knn", "backbone_from": "fc"},
            "emd": {"method": "emd_corr", "backbone_from": "fc", "inference": {"correspondences": {}}},
            "wrap": {
                "method": "memory_wrap",
                "training": training,
                "datasets": ["digits"],
                "inference": {"counterfactuals": {}},
            },
            "flow": {
                "method": "protoflow",
                "backbone": {"name": "dense_flow_small"},
                "training": training,
                "datasets": ["digits"],
                "train_sizes": ["all"],
            },
        },
        "human_studies": {
            "people": {"sessions": "sessions.csv", "trials": "trials.csv"},
            "classifiers": {"classifier_outputs": "outputs.csv"},
        },
        "published": ["human_study"],
    }
    return {**study, **changes}


def make_plan(values: dict[str, Any], root: Path) -> Plan:
    """The plan of a study, with its results below a folder."""
    return plan_of(values, "tiny.yaml").model_copy(update={"root": root})


def changed_plan(plan: Plan, **changes: Any) -> Plan:
    """The plan of the tiny study with other keys, written in the folder of another plan."""
    changed = make_plan(tiny_study(**changes), plan.root)
    changed.write()
    return changed


def run_stage(
    plan: Plan,
    stage: str,
    run: RunSpec | None = None,
    mode: str = "",
    evaluation_set: str = "",
    analysis: str = "",
    **options: Any,
) -> Any:
    """Do a stage of a run, or of the study, in this process; `options` are further arguments of its function."""
    module, _, name = STAGES[stage].function.partition(":")
    function = getattr(importlib.import_module(module), name)
    if run is None:
        return function(plan, **options)
    declared = plan.analysis_of(run, analysis) if analysis else None
    return function(task_of(plan, Item(run, mode, declared, evaluation_set)), **options)


def opened(plan: Plan, run: RunSpec) -> OpenedRun:
    """A run as its stages open it."""
    return open_run(task_of(plan, Item(run)))


def finish(plan: Plan) -> None:
    """Every run of a study from training to predictions and explanations."""
    for run in plan.runs():
        if plan.models[run.model].own_training is not None:
            run_stage(plan, "train", run)
    for stage in ("embed", "embed_queries", "evaluate", "explain", "analyse"):
        for item in STAGES[stage].items(plan):
            module, _, name = STAGES[stage].function.partition(":")
            getattr(importlib.import_module(module), name)(task_of(plan, item))
