"""The study model: what a user writes in YAML, checked before anything runs."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Union

import yaml
from pydantic import Field, TypeAdapter, ValidationError

from lookalike.backbones.registry import BACKBONES
from lookalike.data.registry import DATA_SETS
from lookalike.data.settings import AnyDataSettings, settings_class
from lookalike.errors import LookalikeError
from lookalike.evaluation.sets import PATTERN, evaluation_set
from lookalike.methods.base import TrainedSettings
from lookalike.methods.registry import METHODS, load_method
from lookalike.needs import ON_GPU
from lookalike.plan import Plan, is_unchanged
from lookalike.settings import JobResources, PatchSettings, Settings

VERSION = 1
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
RESERVED = ("data", "downloads", "tracking", "benchmarks")
IMAGE_SETS = [name for name, row in DATA_SETS.items() if row.reader]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
# One settings class a method, told apart by the key `method`; a new registry line joins by itself.
ModelSettings: Any = Annotated[
    Union[tuple(load_method(name).Settings for name in METHODS)],  # noqa: UP007
    Field(discriminator="method"),
]


class Study(Settings):
    """A study: data sets x models x training sizes x seeds."""

    version: Literal[1] = Field(description="Version of this format.")
    name: Name = Field(description="Names the folder below results/.")
    title: str = Field("", description="Heading of the report.")
    seed: Annotated[int, Field(ge=0)] = Field(0, description="All other seeds are derived from it.")
    datasets: Annotated[dict[Name, AnyDataSettings], Field(min_length=1)] = Field(
        description="Data sets: a list of registry names, or named entries with `source` and options."
    )
    models: Annotated[dict[Name, ModelSettings], Field(min_length=1)] = Field(
        description="Named entries: a method and its settings."
    )
    sizes: Annotated[tuple[Literal["all"] | Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = ("all",)
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
    evaluation_sets: Annotated[tuple[Annotated[str, Field(pattern=f"^{PATTERN}$")], ...], Field(min_length=1)] = (
        "test",
    )
    baseline: str = Field("", description="Model that paired comparisons refer to; the first one when left out.")
    explained_queries: Annotated[int, Field(ge=0)] = Field(6, description="Queries a run explains.")
    threads: Annotated[int, Field(ge=1)] = Field(1, description="CPU threads of one run.")
    resources: dict[str, JobResources] = Field(
        default={}, description="What jobs ask of a cluster: by stage (`train`) or stage and model (`train/nw`)."
    )
    runs_per_job: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Pack so many runs, from training to explanations, into one job; for short runs on a cluster."
    )
    runs_per_gpu: Annotated[int, Field(ge=1)] = Field(1, description="Runs that share a GPU at a time.")
    patch: PatchSettings | None = Field(None, description="Adversarial patch of evaluation sets such as `test-patch`.")

    def plan(self, root: Path = Path("results")) -> Plan:
        """Resolve into the plan that the stages read."""
        return Plan(
            study=self.name,
            title=self.title or self.name,
            seed=self.seed,
            datasets={
                name: {**settings.model_dump(mode="json"), "prepared": settings.prepared}
                for name, settings in self.datasets.items()
            },
            models={name: model.model_dump(mode="json") for name, model in self.models.items()},
            sizes=[str(size) for size in self.sizes],
            seeds=list(self.seeds),
            evaluation_sets=list(self.evaluation_sets),
            baseline=self.baseline or next((name for name, model in self.models.items() if model.modes), ""),
            explained_queries=self.explained_queries,
            threads=self.threads,
            resources={name: needs.model_dump(exclude_none=True) for name, needs in self.resources.items()},
            runs_per_job=self.runs_per_job,
            runs_per_gpu=self.runs_per_gpu,
            patch=None if self.patch is None else self.patch.model_dump(mode="json"),
            root=root,
        )


def json_schema() -> dict[str, Any]:
    """The JSON schema of a study, for editors and for `workflow/schemas/`."""
    schema = TypeAdapter(Study).json_schema()
    entries = schema["properties"]["datasets"]
    named = {key: entries.pop(key) for key in list(entries) if key not in ("description", "title")}
    listed = {"type": "array", "items": {"enum": IMAGE_SETS}, "minItems": 1, "uniqueItems": True}
    entries["anyOf"] = [listed, named]
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["patternProperties"] = {"^x-": True}
    return schema


def read_study(path: Path) -> Study:
    """Read and check a study file.

    Raises:
        LookalikeError: names the file, the key, and the YAML to write.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LookalikeError(f"study {path} is missing; give the path of a study's YAML file.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise LookalikeError(f"study {path} is not valid YAML: {error}") from None
    return check_study(values, str(path))


def check_study(values: Any, source: str) -> Study:
    """Check the content of a study.

    Args:
        values: what the YAML holds; keys that start with `x-` are the user's own (anchors).
        source: names the file in messages.

    Raises:
        LookalikeError: one message for the first mistake of each kind, with the YAML to write.
    """
    if not isinstance(values, dict):
        raise LookalikeError(f"{source} holds no study; start from config.yaml.")
    version = values.get("version")
    if version != VERSION:
        raise LookalikeError(
            f"{source}: version is {version!r}, this lookalike reads version {VERSION}; compare with config.yaml, "
            f"then write\n  version: {VERSION}"
        )
    values = {key: value for key, value in values.items() if not str(key).startswith("x-")}
    if "datasets" in values:
        values["datasets"] = _named_datasets(values["datasets"], source)
    try:
        study = Study.model_validate(values)
    except ValidationError as error:
        raise LookalikeError(_explain(error, source)) from None
    _check_sizes(study, source)
    _check_names(study, source)
    return study


def _named_datasets(given: Any, source: str) -> Any:
    """`datasets` as named entries: a list of names is short for entries without options."""
    if isinstance(given, list):
        names = [str(name) for name in given]
        if len(set(names)) < len(names):
            raise LookalikeError(f"{source}: datasets names an entry twice: {names}. Write each once.")
        given = dict.fromkeys(names)
    if not isinstance(given, dict):
        return given
    entries = {}
    for name, options in given.items():
        if options is not None and not isinstance(options, dict):
            raise LookalikeError(f"{source}: datasets.{name} is {options!r}; write its options, or {{}} for none.")
        wanted = (options or {}).get("source", name)
        if wanted not in IMAGE_SETS:
            near = _nearest(wanted, IMAGE_SETS)
            what = "is made from others when they are evaluated" if wanted in DATA_SETS else "is no known data set"
            raise LookalikeError(
                f"{source}: datasets names {wanted!r}, which {what}; there are {', '.join(IMAGE_SETS)}. Write\n"
                + (f"  datasets: [{near}]" if wanted == name else _yaml(("datasets", name, "source"), near))
            )
        entries[name] = {"source": wanted, **(options or {})}
    return entries


def _yaml(location: tuple[Any, ...], value: str) -> str:
    """The nested YAML that sets one key, indented for a message."""
    lines = [f"{'  ' * (depth + 1)}{key}:" for depth, key in enumerate(location)]
    return "\n".join(lines) + f" {value}"


def _nearest(word: Any, known: list[str]) -> str:
    close = difflib.get_close_matches(str(word), known, n=1, cutoff=0.0)
    return close[0] if close else known[0]


def _explain(error: ValidationError, source: str) -> str:
    """The first mistake as one message; pydantic's discriminator tag is taken out of the location."""
    first = error.errors()[0]
    location = tuple(first["loc"])
    tags: list[str] = {"models": list(METHODS), "datasets": list(DATA_SETS)}.get(str(next(iter(location), "")), [])
    if len(location) > 2 and location[2] in tags:
        location = location[:2] + location[3:]
    kind, given = first["type"], first.get("input")
    if location[:1] == ("evaluation_sets",) and len(location) > 1:
        try:
            evaluation_set(str(given))
        except ValueError as wrong:
            return f"{source}: {wrong}. Write\n  evaluation_sets: [test]"
    if location[:1] == ("sizes",) and len(location) > 1:
        return f"{source}: sizes has {given!r}; each size is all or a number of training images. Write\n  sizes: [all]"
    key = ".".join(map(str, location))
    if kind == "extra_forbidden":
        known = _known_keys(location[:-1], error, first)
        better = _nearest(location[-1], known)
        return f"{source}: {key} is no known key; known there: {', '.join(known)}. Perhaps write\n" + _yaml(
            (*location[:-1], better), str(given)
        )
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        entry = given if isinstance(given, dict) else {}
        better = _nearest(entry.get("method", ""), list(METHODS))
        what = f"method {entry['method']!r} is unknown" if "method" in entry else "has no method"
        return f"{source}: {key}: {what}; there are {', '.join(METHODS)}. Write\n" + _yaml(
            (*location, "method"), better
        )
    if kind == "literal_error":
        choices = [part.strip("'\" ") for part in first["ctx"]["expected"].replace(" or ", ", ").split(",")]
        return f"{source}: {key} is {given!r}; it must be one of {', '.join(choices)}. Write\n" + _yaml(
            _without_index(location), _listed(location, _nearest(given, choices))
        )
    if kind == "missing":
        return f"{source}: {key} is missing. Write\n" + _yaml(location, _EXAMPLES.get(str(location[-1]), "..."))
    if kind == "too_short":
        return f"{source}: {key} is empty; it needs at least one entry. Write\n" + _yaml(
            location, _EXAMPLES.get(str(location[-1]), "...")
        )
    message = first["msg"].removeprefix("Value error, ").removeprefix("Input ").rstrip(".")
    return (
        f"{source}: {key} is {given!r}; it {message}."
        if message.startswith("should")
        else f"{source}: {key}: {message}."
    )


_EXAMPLES = {
    "seeds": "[0, 1, 2]",
    "datasets": "[digits]",
    "sizes": "[all]",
    "evaluation_sets": "[test]",
    "modes": "[full]",
    "models": "{fc: {method: fc}}",
    "name": "my_study",
}


def _without_index(location: tuple[Any, ...]) -> tuple[Any, ...]:
    return location[:-1] if isinstance(location[-1], int) else location


def _listed(location: tuple[Any, ...], value: str) -> str:
    return f"[{value}]" if isinstance(location[-1], int) else value


def _known_keys(location: tuple[Any, ...], error: ValidationError, first: Any) -> list[str]:
    """Keys that the settings class at a location knows."""
    settings: Any = Study
    if location[:1] == ("datasets",) and len(location) > 1:
        return [key for key in settings_class(first["loc"][2]).model_fields if key != "source"]
    tag = next((part for part in first["loc"][2:3] if part in METHODS), None)
    for part in location:
        if settings is Study:
            if part != "models":
                break
            settings = load_method(tag).Settings if tag else settings
        elif part in settings.model_fields:
            annotation = settings.model_fields[part].annotation
            settings = next(
                (kind for kind in getattr(annotation, "__args__", (annotation,)) if hasattr(kind, "model_fields")),
                settings,
            )
    return list(settings.model_fields)


def _check_names(study: Study, source: str) -> None:
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
                + _yaml(("models", name, "backbone", "name"), _nearest(backbone.name, list(BACKBONES)))
            )
        wanted = getattr(model, "backbone_from", None)
        if wanted is not None and wanted not in trained:
            raise LookalikeError(
                f"{source}: models.{name}.backbone_from is {wanted!r}, which is no trained model of this study; "
                f"there are {', '.join(trained) or 'none'}. Write\n"
                + _yaml(("models", name, "backbone_from"), _nearest(wanted, trained) if trained else "fc")
            )
        _check_places(study, name, source)
        for mode in model.explain:
            if mode not in model.modes:
                raise LookalikeError(
                    f"{source}: models.{name}.explain names mode {mode!r}, which models.{name}.modes lacks. Write\n"
                    + _yaml(("models", name, "modes"), f"[{', '.join([*model.modes, mode])}]")
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
    classifying = [name for name, model in study.models.items() if model.modes]
    if not classifying:
        raise LookalikeError(f"{source}: no model classifies anything. Write\n  models: {_EXAMPLES['models']}")
    if study.baseline and study.baseline not in classifying:
        what = "classifies nothing" if study.baseline in study.models else "is no model of this study"
        raise LookalikeError(
            f"{source}: baseline is {study.baseline!r}, which {what}. Write\n"
            f"  baseline: {_nearest(study.baseline, classifying)}"
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
    for key in ("sizes", "seeds", "evaluation_sets"):
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
                    + _yaml(("datasets", name, role), _nearest(owner, trained) if trained else "...")
                )
            if re.fullmatch(PATTERN, name):
                raise LookalikeError(
                    f"{source}: datasets.{name} gives queries and would be an evaluation set {name}, which there is; "
                    "give the entry another name. Write\n" + _yaml(("datasets", f"{name}_of_others", role), owner)
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
                "out. Write\n" + _yaml(("datasets", name, "evaluation_sets"), f"[{', '.join([*lost, *kept])}]")
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
                "Write\n" + _yaml(("models", name, "training", "by_dataset"), f"{{{next(iter(study.datasets))}: {{}}}}")
            )
    for dataset in model.datasets or study.datasets if "key_points" in model.modes else ():
        if not DATA_SETS[study.datasets[dataset].source].key_points:
            raise LookalikeError(
                f"{source}: models.{name}.modes has key_points, but {dataset} has no key points. Write\n"
                + _yaml(("models", name, "modes"), "[vote]")
            )
    for key in ("datasets", "sizes"):
        there, given = list(getattr(study, key)), getattr(model, key)
        if given is None:
            continue
        for entry in given:
            if entry not in there:
                raise LookalikeError(
                    f"{source}: models.{name}.{key} has {entry!r}, which the study's {key} lack. Write\n"
                    + _yaml(("models", name, key), f"[{', '.join(map(str, there))}]")
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
            + _yaml(("models", name, "sizes"), f"[{', '.join(map(str, study.sizes))}]")
        )
    for key in ("datasets", "sizes"):
        every = [entry for entry in getattr(study, key) if key != "datasets" or not study.datasets[entry].asked_of]
        own, needed = getattr(owner, key), getattr(model, key) or every
        missing = [entry for entry in needed if own is not None and entry not in own]
        if missing:
            raise LookalikeError(
                f"{source}: models.{name} takes its network from {model.backbone_from}, which has no run for {key} "
                f"{missing[0]!r}. Write\n" + _yaml(("models", name, key), f"[{', '.join(map(str, own))}]")
            )


def _check_patch(study: Study, patch: PatchSettings, source: str) -> None:
    able = [name for name, model in study.models.items() if model.has_gradient]
    if patch.model not in able:
        what = "has no gradient to follow" if patch.model in study.models else "is no model of this study"
        raise LookalikeError(
            f"{source}: patch.model is {patch.model!r}, which {what}. Write\n"
            + _yaml(("patch", "model"), _nearest(patch.model, able or list(study.models)))
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
                + _yaml(("patch", "model"), "...")
            )
    for name, settings in patched.items():
        classes = getattr(settings, "classes", DATA_SETS[settings.source].classes)
        if classes and patch.target >= classes:
            raise LookalikeError(
                f"{source}: patch.target is {patch.target}, but {name} has {classes} classes. Write\n"
                + _yaml(("patch", "target"), "0")
            )


def _check_sizes(study: Study, source: str) -> None:
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
                + _yaml(("datasets", name, "queries_for"), next(iter(study.datasets)))
            )
        if "validation" in splits and "validation" not in counts:
            raise LookalikeError(
                f"{source}: evaluation_sets has validation, but {name} has no such images. Write\n"
                + _yaml(("datasets", name, "held_out"), str(max(1, counts["train"] // 10)))
            )
        training = counts["train"]
        left = training - settings.held_out
        if left <= 0:
            raise LookalikeError(
                f"{source}: datasets.{name}.held_out is {settings.held_out}, but {name} has {training} training "
                f"images. Write\n" + _yaml(("datasets", name, "held_out"), str(training // 10))
            )
        for size in settings.sizes or study.sizes:
            if size != "all" and size > left:
                raise LookalikeError(
                    f"{source}: sizes has {size}, but {name} has {left} training images. Write\n"
                    + _yaml(("datasets", name, "sizes"), "[all]")
                )
