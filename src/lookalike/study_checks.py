"""What a study must fulfil beyond its format: names that exist, places where models can run, sizes that data have."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from lookalike.backbones.registry import BACKBONES
from lookalike.data.registry import DATA_SETS
from lookalike.errors import LookalikeError
from lookalike.evaluation.sets import PATTERN, evaluation_set
from lookalike.methods.base import TrainedSettings
from lookalike.needs import ON_GPU
from lookalike.plan import is_unchanged
from lookalike.reporting.published import published_names, read_published
from lookalike.settings import PatchSettings
from lookalike.suggest import as_yaml, nearest

if TYPE_CHECKING:
    from lookalike.study import Study

PLACED = (  # stages a cluster runs
    "train",
    "make_patch",
    "precompute_support",
    "embed_queries",
    "evaluate",
    "explain",
    "score_counterfactuals",
    "score_correspondences",
    "show_prototypes",
    "run_pack",
)
RESERVED = ("data", "downloads", "tracking", "benchmarks", "smoke")


def check_names(study: Study, source: str) -> None:
    """Raise LookalikeError where an entry names what is not there, or a model has nowhere to run."""
    if study.name in RESERVED:
        raise LookalikeError(
            f"{source}: name is {study.name!r}, which is a folder of its own below results/. Write\n  name: my_study"
        )
    networks = {name: model for name, model in study.models.items() if isinstance(model, TrainedSettings)}
    trained = [name for name, model in networks.items() if model.training is not None]
    for name, model in study.models.items():
        backbone = getattr(model, "backbone", None)
        if backbone is not None and backbone.name not in BACKBONES:
            raise LookalikeError(
                f"{source}: models.{name}.backbone.name is {backbone.name!r}; there are {', '.join(BACKBONES)}. Write\n"
                + as_yaml(("models", name, "backbone", "name"), nearest(backbone.name, list(BACKBONES)))
            )
        wanted = getattr(model, "backbone_from", None)
        if wanted is not None and wanted not in trained:
            raise LookalikeError(
                f"{source}: models.{name}.backbone_from is {wanted!r}, which is no trained model of this study; "
                f"there are {', '.join(trained) or 'none'}. Write\n"
                + as_yaml(("models", name, "backbone_from"), nearest(wanted, trained) if trained else "fc")
            )
        _check_places(study, name, source)
        for mode in model.explain:
            if mode not in model.modes:
                raise LookalikeError(
                    f"{source}: models.{name}.explain names mode {mode!r}, which models.{name}.modes lacks. Write\n"
                    + as_yaml(("models", name, "modes"), f"[{', '.join([*model.modes, mode])}]")
                )
    _check_queries(study, source)
    patched = [name for name in study.evaluation_sets if evaluation_set(name).patch]
    if patched and study.patch is None:
        raise LookalikeError(
            f"{source}: evaluation_sets has {patched[0]}, but there is no patch. Write\n"
            f"  patch:\n    model: {next(iter(study.models))}\n    target: 0"
        )
    if study.patch is not None:
        _check_patch(study, study.patch, source)
    classifying = [name for name, model in study.models.items() if model.classifies]
    if not classifying:
        raise LookalikeError(f"{source}: no model classifies anything. Write\n  models: {{fc: {{method: fc}}}}")
    if study.baseline and study.baseline not in classifying:
        what = "classifies nothing" if study.baseline in study.models else "is no model of this study"
        raise LookalikeError(
            f"{source}: baseline is {study.baseline!r}, which {what}. Write\n"
            f"  baseline: {nearest(study.baseline, classifying)}"
        )
    for key in study.resources:
        stage, _, model = key.partition("/")
        if stage not in PLACED or (model and (model not in study.models or stage == "run_pack")):
            raise LookalikeError(
                f"{source}: resources.{key} is neither a stage ({', '.join(PLACED)}) nor one with a model of this "
                f"study. Write\n  resources:\n    train/{next(iter(study.models))}: {{mem_mb: 8000, runtime: 240}}"
            )
        if study.resources[key].gpu and stage not in ON_GPU:
            raise LookalikeError(
                f"{source}: resources.{key}.gpu is {study.resources[key].gpu}, but {stage} works on the CPU. Write\n"
                f"  resources:\n    {key}: {{runtime: 60}}"
            )
    for name in study.published:
        if name not in published_names():
            raise LookalikeError(
                f"{source}: published names {name!r}, but workflow/published has {', '.join(published_names())}. "
                f"Write\n  published: [{nearest(name, published_names())}]"
            )
        read_published(name)
    for key in ("sizes", "seeds", "evaluation_sets", "published"):
        entries = getattr(study, key)
        if len(set(entries)) < len(entries):
            raise LookalikeError(f"{source}: {key} names an entry twice: {entries}. Write each once.")


def _check_queries(study: Study, source: str) -> None:
    """Entries that give queries to another one's models, and evaluation sets that a data set leaves out."""
    for name, settings in study.datasets.items():
        owner, role = settings.asked_of, "queries_for" if settings.queries_for else "outliers_for"
        trained = [other for other, entry in study.datasets.items() if entry.asked_of is None]
        if owner is not None:
            if owner not in trained:
                raise LookalikeError(
                    f"{source}: datasets.{name}.{role} is {owner!r}, which is no data set that models of this "
                    f"study are trained on; there are {', '.join(trained) or 'none'}. Write\n"
                    + as_yaml(("datasets", name, role), nearest(owner, trained) if trained else "...")
                )
            if re.fullmatch(PATTERN, name):
                raise LookalikeError(
                    f"{source}: datasets.{name} gives queries and would be an evaluation set {name}, which there is; "
                    "give the entry another name. Write\n" + as_yaml(("datasets", f"{name}_of_others", role), owner)
                )
        if settings.outliers_for is not None and "test" not in study.evaluation_sets:
            raise LookalikeError(
                f"{source}: datasets.{name}.outliers_for compares with test images, which evaluation_sets lacks. "
                f"Write\n  evaluation_sets: [{', '.join(['test', *study.evaluation_sets])}]"
            )
        for entry in settings.evaluation_sets or ():
            if entry not in study.evaluation_sets:
                raise LookalikeError(
                    f"{source}: datasets.{name}.evaluation_sets has {entry!r}, which the study's evaluation_sets lack. "
                    f"Write\n  evaluation_sets: [{', '.join([*study.evaluation_sets, entry])}]"
                )
        kept = settings.evaluation_sets or study.evaluation_sets
        lost = [entry for entry in study.evaluation_sets if is_unchanged(entry) and entry not in kept]
        if lost:
            raise LookalikeError(
                f"{source}: datasets.{name}.evaluation_sets leaves out {lost[0]}, but only changed sets can be left "
                "out. Write\n" + as_yaml(("datasets", name, "evaluation_sets"), f"[{', '.join([*lost, *kept])}]")
            )


def _check_places(study: Study, name: str, source: str) -> None:
    """A model runs where the study does, and where the model is that it takes its network from."""
    model = study.models[name]
    owner = study.models.get(getattr(model, "backbone_from", None) or name, model)
    training = getattr(model, "training", None)
    for dataset in training.by_dataset if training is not None else ():
        if dataset not in study.datasets:
            raise LookalikeError(
                f"{source}: models.{name}.training.by_dataset names {dataset!r}, which is no data set of this study. "
                "Write\n"
                + as_yaml(("models", name, "training", "by_dataset"), f"{{{next(iter(study.datasets))}: {{}}}}")
            )
    for dataset in model.datasets or study.datasets if "key_points" in model.modes else ():
        if not DATA_SETS[study.datasets[dataset].source].key_points:
            raise LookalikeError(
                f"{source}: models.{name}.modes has key_points, but {dataset} has no key points. Write\n"
                + as_yaml(("models", name, "modes"), "[vote]")
            )
    for key in ("datasets", "sizes"):
        there, given = list(getattr(study, key)), getattr(model, key)
        if given is None:
            continue
        for entry in given:
            if entry not in there:
                raise LookalikeError(
                    f"{source}: models.{name}.{key} has {entry!r}, which the study's {key} lack. Write\n"
                    + as_yaml(("models", name, key), f"[{', '.join(map(str, there))}]")
                )
    owned = {
        (dataset, size)
        for dataset in model.datasets or study.datasets
        if study.datasets[dataset].asked_of is None
        for size in model.sizes or study.sizes
        if study.datasets[dataset].sizes is None or size in study.datasets[dataset].sizes
    }
    if not owned:
        raise LookalikeError(
            f"{source}: models.{name} has no run: its data sets are not used at its sizes. Write\n"
            + as_yaml(("models", name, "sizes"), f"[{', '.join(map(str, study.sizes))}]")
        )
    for key in ("datasets", "sizes"):
        every = [entry for entry in getattr(study, key) if key != "datasets" or not study.datasets[entry].asked_of]
        own, needed = getattr(owner, key), getattr(model, key) or every
        missing = [entry for entry in needed if own is not None and entry not in own]
        if missing:
            raise LookalikeError(
                f"{source}: models.{name} takes its network from {model.backbone_from}, which has no run for {key} "
                f"{missing[0]!r}. Write\n" + as_yaml(("models", name, key), f"[{', '.join(map(str, own))}]")
            )


def _check_patch(study: Study, patch: PatchSettings, source: str) -> None:
    able = [name for name, model in study.models.items() if model.has_gradient]
    if patch.model not in able:
        what = "has no gradient to follow" if patch.model in study.models else "is no model of this study"
        raise LookalikeError(
            f"{source}: patch.model is {patch.model!r}, which {what}. Write\n"
            + as_yaml(("patch", "model"), nearest(patch.model, able or list(study.models)))
        )
    patched = {
        name: settings
        for name, settings in study.datasets.items()
        if not settings.asked_of
        and (settings.evaluation_sets is None or any(evaluation_set(e).patch for e in settings.evaluation_sets))
    }
    for key, needed in (("datasets", patched), ("sizes", study.sizes)):
        there = getattr(study.models[patch.model], key)
        if there is not None and not set(needed) <= set(there):
            raise LookalikeError(
                f"{source}: patch.model is {patch.model}, which does not run on all {key}, but every model is "
                f"evaluated on its patch. Take models.{patch.model}.{key} out, or write\n"
                + as_yaml(("patch", "model"), "...")
            )
    for name, settings in patched.items():
        classes = getattr(settings, "classes", DATA_SETS[settings.source].classes)
        if classes and patch.target >= classes:
            raise LookalikeError(
                f"{source}: patch.target is {patch.target}, but {name} has {classes} classes. Write\n"
                + as_yaml(("patch", "target"), "0")
            )


def check_sizes(study: Study, source: str) -> None:
    """Raise LookalikeError where a data set has not the images that sizes and evaluation sets ask for."""
    splits = [evaluation_set(name).split for name in study.evaluation_sets]
    weights: dict[str, Any] = {}
    for name, settings in study.datasets.items():
        for size in settings.sizes or ():
            if size not in study.sizes:
                raise LookalikeError(
                    f"{source}: datasets.{name}.sizes has {size!r}, which the study's sizes lack. Write\n"
                    f"  sizes: [{', '.join(map(str, [*study.sizes, size]))}]"
                )
        chosen = getattr(settings, "duplicate_weights", None)
        if chosen is not None and weights.setdefault(settings.prepared, chosen) != chosen:
            raise LookalikeError(
                f"{source}: datasets.{name}.duplicate_weights is {chosen}, another entry's is "
                f"{weights[settings.prepared]}; the filters run once: write the same file."
            )
        counts = settings.counts()
        if not counts:
            continue
        if settings.asked_of is not None:
            continue
        if "train" not in counts:
            raise LookalikeError(
                f"{source}: datasets.{name} has test images only, so that no model can be trained on it. Give them to "
                "the models of another data set, whose classes it shares:\n"
                + as_yaml(("datasets", name, "queries_for"), next(iter(study.datasets)))
            )
        if "validation" in splits and "validation" not in counts:
            raise LookalikeError(
                f"{source}: evaluation_sets has validation, but {name} has no such images. Write\n"
                + as_yaml(("datasets", name, "held_out"), str(max(1, counts["train"] // 10)))
            )
        training = counts["train"]
        left = training - settings.held_out
        if left <= 0:
            raise LookalikeError(
                f"{source}: datasets.{name}.held_out is {settings.held_out}, but {name} has {training} training "
                f"images. Write\n" + as_yaml(("datasets", name, "held_out"), str(training // 10))
            )
        for size in settings.sizes or study.sizes:
            if size != "all" and size > left:
                raise LookalikeError(
                    f"{source}: sizes has {size}, but {name} has {left} training images. Write\n"
                    + as_yaml(("datasets", name, "sizes"), "[all]")
                )
