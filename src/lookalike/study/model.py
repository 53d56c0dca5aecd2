"""The study model: what a user writes in YAML."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Union

from pydantic import Field, TypeAdapter

from lookalike.contracts.settings import Settings, SmokeAtMost
from lookalike.data.registry import DATA_SETS
from lookalike.data.settings import AnyDataSettings
from lookalike.methods.registry import METHODS
from lookalike.study.evaluation_sets import PATTERN
from lookalike.study.human_studies import HumanStudySettings
from lookalike.study.settings import AdversarialPatchSettings, JobResources

VERSION = 2
IMAGE_SETS = [name for name, row in DATA_SETS.items() if row.reader]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=60)]
# One settings class a method, told apart by the key `method`; a new row of the registry joins by itself.
ModelSettings: Any = Annotated[
    Union[tuple(method.settings_class() for method in METHODS.values())],  # noqa: UP007
    Field(discriminator="method"),
]


class Study(Settings):
    """A study: data sets x models x training sizes x seeds."""

    version: Literal[2] = Field(description="Version of this format.")
    name: Name = Field(description="Name of the folder below results/.")
    title: str = Field("", description="Heading of the report; the name when left out.")
    seed: Annotated[int, Field(ge=0)] = Field(0, description="Seed that all other seeds are derived from.")
    datasets: Annotated[dict[Name, AnyDataSettings], Field(min_length=1)] = Field(
        description="Data sets: a list of registry names, or named entries with `source` and options."
    )
    models: Annotated[dict[Name, ModelSettings], Field(min_length=1)] = Field(
        description="Models: named entries with a method and its settings."
    )
    train_sizes: Annotated[tuple[Literal["all"] | Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = Field(
        ("all",), description="Numbers of training images; subsets are nested and class-balanced."
    )
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] = Field(
        description="Numbers of the repetitions of every run."
    )
    evaluation_sets: Annotated[tuple[Annotated[str, Field(pattern=f"^{PATTERN}$")], ...], Field(min_length=1)] = Field(
        ("test",), description="Images that are classified: a split, as it is or changed."
    )
    baseline: str = Field(
        "", description="Model that paired comparisons refer to; the first that classifies when left out."
    )
    explained_queries: Annotated[int, Field(ge=0), SmokeAtMost(1)] = Field(
        6, description="Queries that a run explains, half of them mistakes where there are enough."
    )
    threads: Annotated[int, Field(ge=1)] = Field(
        1, description="CPU threads of one run; part of what fixes the last digits."
    )
    resources: dict[str, JobResources] = Field(
        default={}, description="What jobs ask of a cluster: by stage (`train`) or stage and model (`train/nw`)."
    )
    runs_per_job: Annotated[int, Field(ge=1)] | None = Field(
        None,
        description="Runs that go together into one job, from training to explanations; for short runs on a cluster.",
    )
    runs_per_gpu: Annotated[int, Field(ge=1)] = Field(1, description="Runs that share a GPU at a time.")
    adversarial_patch: AdversarialPatchSettings | None = Field(
        None, description="The patch of evaluation sets such as `test-adversarial_patch`."
    )
    human_studies: dict[Name, HumanStudySettings] = Field(
        default={}, description="People's responses, and released outputs of classifiers, to be analysed."
    )
    published: tuple[Name, ...] = Field(
        (), description="Files below workflow/published, such as memory_wrap, that results are compared with."
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
