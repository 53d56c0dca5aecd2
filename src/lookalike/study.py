"""The study model: what a user writes in YAML, checked before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Union

import yaml
from pydantic import Field, TypeAdapter, ValidationError

from lookalike.data.registry import DATA_SETS
from lookalike.data.settings import AnyDataSettings, settings_class
from lookalike.errors import LookalikeError
from lookalike.evaluation.sets import PATTERN, evaluation_set
from lookalike.human_study.settings import HumanStudySettings
from lookalike.methods.registry import METHODS, load_method
from lookalike.plan import Plan
from lookalike.settings import JobResources, PatchSettings, Settings
from lookalike.study_checks import check_names, check_sizes
from lookalike.suggest import as_yaml, nearest

VERSION = 1
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
    human_studies: dict[Name, HumanStudySettings] = Field(
        default={}, description="People's responses, and released outputs of classifiers, to be analysed."
    )
    published: tuple[Name, ...] = Field(
        (), description="Files below workflow/published, such as memory_wrap, that results are compared with."
    )

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
            baseline=self.baseline or next((name for name, model in self.models.items() if model.classifies), ""),
            explained_queries=self.explained_queries,
            threads=self.threads,
            resources={name: needs.model_dump(exclude_none=True) for name, needs in self.resources.items()},
            runs_per_job=self.runs_per_job,
            runs_per_gpu=self.runs_per_gpu,
            patch=None if self.patch is None else self.patch.model_dump(mode="json"),
            human_studies={name: one.model_dump(mode="json") for name, one in self.human_studies.items()},
            published=list(self.published),
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
    check_sizes(study, source)
    check_names(study, source)
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
            near = nearest(wanted, IMAGE_SETS)
            what = "is made from others when they are evaluated" if wanted in DATA_SETS else "is no known data set"
            raise LookalikeError(
                f"{source}: datasets names {wanted!r}, which {what}; there are {', '.join(IMAGE_SETS)}. Write\n"
                + (f"  datasets: [{near}]" if wanted == name else as_yaml(("datasets", name, "source"), near))
            )
        entries[name] = {"source": wanted, **(options or {})}
    return entries


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
        better = nearest(location[-1], known)
        return f"{source}: {key} is no known key; known there: {', '.join(known)}. Perhaps write\n" + as_yaml(
            (*location[:-1], better), str(given)
        )
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        entry = given if isinstance(given, dict) else {}
        better = nearest(entry.get("method", ""), list(METHODS))
        what = f"method {entry['method']!r} is unknown" if "method" in entry else "has no method"
        return f"{source}: {key}: {what}; there are {', '.join(METHODS)}. Write\n" + as_yaml(
            (*location, "method"), better
        )
    if kind == "literal_error":
        choices = [part.strip("'\" ") for part in first["ctx"]["expected"].replace(" or ", ", ").split(",")]
        return f"{source}: {key} is {given!r}; it must be one of {', '.join(choices)}. Write\n" + as_yaml(
            _without_index(location), _listed(location, nearest(given, choices))
        )
    if kind == "missing":
        return f"{source}: {key} is missing. Write\n" + as_yaml(location, _EXAMPLES.get(str(location[-1]), "..."))
    if kind == "too_short":
        return f"{source}: {key} is empty; it needs at least one entry. Write\n" + as_yaml(
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
