"""What a study must fulfil beyond its format: names that exist, places where models can run, sizes that data have."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from lookalike.backbones.registry import BACKBONES
from lookalike.contracts.settings import TrainedSettings
from lookalike.core.errors import LookalikeError
from lookalike.data.registry import DATA_SETS
from lookalike.study.evaluation_sets import PATTERN, is_unchanged, parse_evaluation_set
from lookalike.study.messages import as_yaml, nearest
from lookalike.study.published import published_names, read_published
from lookalike.study.settings import AdversarialPatchSettings

if TYPE_CHECKING:
    from lookalike.study.model import Study

RESERVED = ("data", "downloads", "tracking", "benchmarks", "smoke")


def check_names(study: Study, path: str) -> None:
    """Raise LookalikeError where an entry names what is not there, or a model has nowhere to run."""
    if study.name in RESERVED:
        raise LookalikeError(
            f"{path}: name is {study.name!r}, which is a folder of its own below results/. Write\n  name: my_study"
        )
    networks = {name: model for name, model in study.models.items() if isinstance(model, TrainedSettings)}
    trained = [name for name, model in networks.items() if model.training is not None]
    for name, model in study.models.items():
        backbone = getattr(model, "backbone", None)
        if backbone is not None and backbone.name not in BACKBONES:
            raise LookalikeError(
                f"{path}: models.{name}.backbone.name is {backbone.name!r}; there are {', '.join(BACKBONES)}. Write\n"
                + as_yaml(("models", name, "backbone", "name"), nearest(backbone.name, list(BACKBONES)))
            )
        giver = getattr(model, "backbone_from", None)
        if giver is not None and giver not in trained:
            raise LookalikeError(
                f"{path}: models.{name}.backbone_from is {giver!r}, which is no trained model of this study; "
                f"there are {', '.join(trained) or 'none'}. Write\n"
                + as_yaml(("models", name, "backbone_from"), nearest(giver, trained) if trained else "fc")
            )
        _check_places(study, name, path)
        for mode in model.explain:
            if mode not in model.modes:
                raise LookalikeError(
                    f"{path}: models.{name}.explain names mode {mode!r}, which models.{name}.modes lacks. Write\n"
                    + as_yaml(("models", name, "modes"), f"[{', '.join([*model.modes, mode])}]")
                )
    _check_queries(study, path)
    patched = [name for name in study.evaluation_sets if parse_evaluation_set(name).patched]
    if patched and study.adversarial_patch is None:
        raise LookalikeError(
            f"{path}: evaluation_sets has {patched[0]}, but there is no adversarial_patch. Write\n"
            f"  adversarial_patch:\n    model: {next(iter(study.models))}\n    target: 0"
        )
    if study.adversarial_patch is not None:
        _check_adversarial_patch(study, study.adversarial_patch, path)
    classifying = [name for name, model in study.models.items() if model.classifies]
    if not classifying:
        raise LookalikeError(f"{path}: no model classifies anything. Write\n  models: {{fc: {{method: fc}}}}")
    if study.baseline and study.baseline not in classifying:
        what = "classifies nothing" if study.baseline in study.models else "is no model of this study"
        raise LookalikeError(
            f"{path}: baseline is {study.baseline!r}, which {what}. Write\n"
            f"  baseline: {nearest(study.baseline, classifying)}"
        )
    for name in study.published:
        if name not in published_names():
            raise LookalikeError(
                f"{path}: published names {name!r}, but workflow/published has {', '.join(published_names())}. "
                f"Write\n  published: [{nearest(name, published_names())}]"
            )
        read_published(name)


def _check_queries(study: Study, path: str) -> None:
    """Entries that give queries to another one's models, and evaluation sets that a data set leaves out."""
    for name, settings in study.datasets.items():
        owner, role = settings.models_of, "evaluated_with" if settings.evaluated_with else "ood_for"
        trained = [other for other, entry in study.datasets.items() if entry.models_of is None]
        if owner is not None:
            if owner not in trained:
                raise LookalikeError(
                    f"{path}: datasets.{name}.{role} is {owner!r}, which is no data set that models of this "
                    f"study are trained on; there are {', '.join(trained) or 'none'}. Write\n"
                    + as_yaml(("datasets", name, role), nearest(owner, trained) if trained else "...")
                )
            if re.fullmatch(PATTERN, name):
                raise LookalikeError(
                    f"{path}: datasets.{name} gives queries and would be an evaluation set {name}, which there is; "
                    "give the entry another name. Write\n" + as_yaml(("datasets", f"{name}_of_others", role), owner)
                )
        if settings.ood_for is not None and "test" not in study.evaluation_sets:
            raise LookalikeError(
                f"{path}: datasets.{name}.ood_for compares with test images, which evaluation_sets lacks. "
                f"Write\n  evaluation_sets: [{', '.join(['test', *study.evaluation_sets])}]"
            )
        for entry in settings.evaluation_sets or ():
            if entry not in study.evaluation_sets:
                raise LookalikeError(
                    f"{path}: datasets.{name}.evaluation_sets has {entry!r}, which the study's evaluation_sets lack. "
                    f"Write\n  evaluation_sets: [{', '.join([*study.evaluation_sets, entry])}]"
                )
        kept = settings.evaluation_sets or study.evaluation_sets
        lost = [entry for entry in study.evaluation_sets if is_unchanged(entry) and entry not in kept]
        if lost:
            raise LookalikeError(
                f"{path}: datasets.{name}.evaluation_sets leaves out {lost[0]}, but only changed sets can be left "
                "out. Write\n" + as_yaml(("datasets", name, "evaluation_sets"), f"[{', '.join([*lost, *kept])}]")
            )


def _check_places(study: Study, name: str, path: str) -> None:
    """A model runs where the study does, and where the model is that it takes its network from."""
    model = study.models[name]
    owner = study.models.get(getattr(model, "backbone_from", None) or name, model)
    training = getattr(model, "training", None)
    for dataset in training.by_dataset if training is not None else ():
        if dataset not in study.datasets:
            raise LookalikeError(
                f"{path}: models.{name}.training.by_dataset names {dataset!r}, which is no data set of this study. "
                "Write\n"
                + as_yaml(("models", name, "training", "by_dataset"), f"{{{next(iter(study.datasets))}: {{}}}}")
            )
    pointed = [mode for mode in model.modes if mode in model.key_point_modes]
    for dataset in model.datasets or study.datasets if pointed else ():
        if not DATA_SETS[study.datasets[dataset].source].key_points:
            others = [mode for mode in model.modes if mode not in pointed]
            raise LookalikeError(
                f"{path}: models.{name}.modes has {pointed[0]}, but {dataset} has no key points. Write\n"
                + as_yaml(("models", name, "modes"), f"[{', '.join(others) or '...'}]")
            )
    for key in ("datasets", "train_sizes"):
        there, given = list(getattr(study, key)), getattr(model, key)
        if given is None:
            continue
        for entry in given:
            if entry not in there:
                raise LookalikeError(
                    f"{path}: models.{name}.{key} has {entry!r}, which the study's {key} lack. Write\n"
                    + as_yaml(("models", name, key), f"[{', '.join(map(str, there))}]")
                )
    owned = {
        (dataset, size)
        for dataset in model.datasets or study.datasets
        if study.datasets[dataset].models_of is None
        for size in model.train_sizes or study.train_sizes
        if study.datasets[dataset].train_sizes is None or size in study.datasets[dataset].train_sizes
    }
    if not owned:
        raise LookalikeError(
            f"{path}: models.{name} has no run: its data sets are not used at its sizes. Write\n"
            + as_yaml(("models", name, "train_sizes"), f"[{', '.join(map(str, study.train_sizes))}]")
        )
    for key in ("datasets", "train_sizes"):
        every = [entry for entry in getattr(study, key) if key != "datasets" or not study.datasets[entry].models_of]
        of_owner, needed = getattr(owner, key), getattr(model, key) or every
        missing = [entry for entry in needed if of_owner is not None and entry not in of_owner]
        if missing:
            raise LookalikeError(
                f"{path}: models.{name} takes its network from {model.backbone_from}, which has no run for {key} "
                f"{missing[0]!r}. Write\n" + as_yaml(("models", name, key), f"[{', '.join(map(str, of_owner))}]")
            )


def _check_adversarial_patch(study: Study, patch: AdversarialPatchSettings, path: str) -> None:
    able = [name for name, model in study.models.items() if model.has_gradient]
    if patch.model not in able:
        what = "has no gradient to follow" if patch.model in study.models else "is no model of this study"
        raise LookalikeError(
            f"{path}: adversarial_patch.model is {patch.model!r}, which {what}. Write\n"
            + as_yaml(("adversarial_patch", "model"), nearest(patch.model, able or list(study.models)))
        )
    patched = {
        name: settings
        for name, settings in study.datasets.items()
        if not settings.models_of
        and (settings.evaluation_sets is None or any(parse_evaluation_set(e).patched for e in settings.evaluation_sets))
    }
    for key, needed in (("datasets", patched), ("train_sizes", study.train_sizes)):
        there = getattr(study.models[patch.model], key)
        if there is not None and not set(needed) <= set(there):
            raise LookalikeError(
                f"{path}: adversarial_patch.model is {patch.model}, which does not run on all {key}, but every model "
                f"is evaluated on its patch. Take models.{patch.model}.{key} out, or write\n"
                + as_yaml(("adversarial_patch", "model"), "...")
            )
    for name, settings in patched.items():
        classes = getattr(settings, "classes", DATA_SETS[settings.source].classes)
        if classes and patch.target >= classes:
            raise LookalikeError(
                f"{path}: adversarial_patch.target is {patch.target}, but {name} has {classes} classes. Write\n"
                + as_yaml(("adversarial_patch", "target"), "0")
            )


def check_sizes(study: Study, path: str) -> None:
    """Raise LookalikeError where a data set has not the images that sizes and evaluation sets ask for."""
    splits = [parse_evaluation_set(name).split for name in study.evaluation_sets]
    weights: dict[str, Any] = {}
    for name, settings in study.datasets.items():
        for size in settings.train_sizes or ():
            if size not in study.train_sizes:
                raise LookalikeError(
                    f"{path}: datasets.{name}.train_sizes has {size!r}, which the study's train_sizes lack. Write\n"
                    f"  train_sizes: [{', '.join(map(str, [*study.train_sizes, size]))}]"
                )
        chosen = getattr(settings, "duplicate_weights", None)
        if chosen is not None and weights.setdefault(settings.prepared, chosen) != chosen:
            raise LookalikeError(
                f"{path}: datasets.{name}.duplicate_weights is {chosen}, another entry's is "
                f"{weights[settings.prepared]}; the filters run once: write the same file."
            )
        counts = settings.counts()
        if not counts:
            continue
        if settings.models_of is not None:
            continue
        if "train" not in counts:
            raise LookalikeError(
                f"{path}: datasets.{name} has test images only, so that no model can be trained on it. Give them to "
                "the models of another data set, whose classes it shares:\n"
                + as_yaml(("datasets", name, "evaluated_with"), next(iter(study.datasets)))
            )
        if "validation" in splits and "validation" not in counts:
            raise LookalikeError(
                f"{path}: evaluation_sets has validation, but {name} has no such images. Write\n"
                + as_yaml(("datasets", name, "validation_size"), str(max(1, counts["train"] // 10)))
            )
        training = counts["train"]
        left = training - settings.validation_size
        if left <= 0:
            raise LookalikeError(
                f"{path}: datasets.{name}.validation_size is {settings.validation_size}, but {name} has {training} "
                f"training images. Write\n" + as_yaml(("datasets", name, "validation_size"), str(training // 10))
            )
        for size in settings.train_sizes or study.train_sizes:
            if size != "all" and size > left:
                raise LookalikeError(
                    f"{path}: train_sizes has {size}, but {name} has {left} training images. Write\n"
                    + as_yaml(("datasets", name, "train_sizes"), "[all]")
                )
