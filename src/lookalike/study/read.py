"""Read a study's YAML and say in one sentence what is wrong with it, before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lookalike.core.errors import LookalikeError
from lookalike.data.registry import DATA_SETS
from lookalike.data.settings import settings_class
from lookalike.methods.registry import METHODS
from lookalike.study.checks import check_names, check_sizes
from lookalike.study.evaluation_sets import parse_evaluation_set
from lookalike.study.messages import as_yaml, nearest
from lookalike.study.migrate import renamed_keys
from lookalike.study.model import IMAGE_SETS, VERSION, Study
from lookalike.study.yaml_file import read_yaml

EXAMPLES = {
    "seeds": "[0, 1, 2]",
    "datasets": "[digits]",
    "train_sizes": "[all]",
    "evaluation_sets": "[test]",
    "modes": "[full]",
    "models": "{fc: {method: fc}}",
    "name": "my_study",
}


def read_study(path: Path) -> Study:
    """Read and check a study file.

    Raises:
        LookalikeError: The message names the file, the key, and the YAML to write.
    """
    return check_study(read_yaml(path), str(path))


def check_study(values: Any, path: str) -> Study:
    """Check the content of a study.

    Args:
        values: Content of the YAML; keys that start with `x-` are the user's own (anchors).
        path: Path of the file, for messages.

    Raises:
        LookalikeError: The message is about the first mistake of each kind, with the YAML to write.
    """
    if not isinstance(values, dict):
        raise LookalikeError(f"{path} holds no study; start from config.yaml.")
    version = values.get("version")
    if old := renamed_keys(values):
        lines = "".join(f"\n  {before} is now {after}" for before, after in old)
        raise LookalikeError(
            f"{path} has keys of an older version; `lookalike migrate {path}` rewrites the file, comments kept:{lines}"
        )
    if version != VERSION:
        raise LookalikeError(
            f"{path}: version is {_shown(version)}, this lookalike reads version {VERSION}; compare with config.yaml, "
            f"then write\n  version: {VERSION}"
        )
    values = {key: value for key, value in values.items() if not str(key).startswith("x-")}
    if "datasets" in values:
        values["datasets"] = _named_datasets(values["datasets"], path)
    try:
        study = Study.model_validate(values)
    except ValidationError as error:
        raise LookalikeError(_explain(error, path)) from None
    check_sizes(study, path)
    check_names(study, path)
    return study


def _named_datasets(given: Any, path: str) -> Any:
    """`datasets` as named entries: a list of names is short for entries without options."""
    if isinstance(given, list):
        names = [str(name) for name in given]
        if len(set(names)) < len(names):
            raise LookalikeError(f"{path}: datasets names an entry twice: {names}. Write each once.")
        given = dict.fromkeys(names)
    if not isinstance(given, dict):
        return given
    entries = {}
    for name, options in given.items():
        if options is not None and not isinstance(options, dict):
            raise LookalikeError(f"{path}: datasets.{name} is {_shown(options)}; write its options, or {{}} for none.")
        source = (options or {}).get("source", name)
        if not isinstance(source, str):
            raise LookalikeError(
                f"{path}: datasets.{name}.source is {_shown(source)}; it is one name, of {', '.join(IMAGE_SETS)}."
            )
        if source not in IMAGE_SETS:
            near = nearest(source, IMAGE_SETS)
            what = "is made from others when they are evaluated" if source in DATA_SETS else "is no known data set"
            raise LookalikeError(
                f"{path}: datasets names {source!r}, which {what}; there are {', '.join(IMAGE_SETS)}. Write\n"
                + (f"  datasets: [{near}]" if source == name else as_yaml(("datasets", name, "source"), near))
            )
        entries[name] = {"source": source, **(options or {})}
    return entries


def _explain(error: ValidationError, path: str) -> str:
    """The first mistake as one message; pydantic's discriminator tag is taken out of the location."""
    first = error.errors()[0]
    location = tuple(first["loc"])
    tags: list[str] = {"models": list(METHODS), "datasets": list(DATA_SETS)}.get(str(next(iter(location), "")), [])
    if len(location) > 2 and location[2] in tags:
        location = location[:2] + location[3:]
    kind, given = first["type"], first.get("input")
    if location[:1] == ("evaluation_sets",) and len(location) > 1:
        try:
            parse_evaluation_set(str(given))
        except ValueError as wrong:
            return f"{path}: {wrong}. Write\n  evaluation_sets: [test]"
    if location[:1] == ("train_sizes",) and len(location) > 1:
        return (
            f"{path}: train_sizes has {_shown(given)}; each is all or a number of training images. Write\n"
            "  train_sizes: [all]"
        )
    key = ".".join(map(str, location))
    if kind == "extra_forbidden":
        keys = _keys_at(location[:-1], first)
        return f"{path}: {key} is no known key; known there: {', '.join(keys)}. Perhaps write\n" + as_yaml(
            (*location[:-1], nearest(location[-1], keys)), str(given)
        )
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        entry = given if isinstance(given, dict) else {}
        better = nearest(entry.get("method", ""), list(METHODS))
        what = f"method {entry['method']!r} is unknown" if "method" in entry else "has no method"
        return f"{path}: {key}: {what}; there are {', '.join(METHODS)}. Write\n" + as_yaml(
            (*location, "method"), better
        )
    if kind == "literal_error":
        choices = [part.strip("'\" ") for part in first["ctx"]["expected"].replace(" or ", ", ").split(",")]
        return f"{path}: {key} is {_shown(given)}; it must be one of {', '.join(choices)}. Write\n" + as_yaml(
            _without_index(location), _listed(location, nearest(given, choices))
        )
    if kind == "missing":
        return f"{path}: {key} is missing. Write\n" + as_yaml(location, EXAMPLES.get(str(location[-1]), "..."))
    if kind == "too_short":
        return f"{path}: {key} is empty; it needs at least one entry. Write\n" + as_yaml(
            location, EXAMPLES.get(str(location[-1]), "...")
        )
    if kind == "string_pattern_mismatch" or (kind == "string_too_long" and location):
        name = location[-2] if location[-1] == "[key]" else given
        return (
            f"{path}: {'.'.join(map(str, location[:-1] if location[-1] == '[key]' else location))}: {str(name)[:80]!r} "
            "is no name; names begin with a small letter and have small letters, digits and underscores, 60 at most."
        )
    if kind in ("list_type", "tuple_type"):
        return f"{path}: {key} is {_shown(given)}; it is a list. Write\n" + as_yaml(
            location, f"[{given}]" if isinstance(given, int | str) else EXAMPLES.get(str(location[-1]), "[...]")
        )
    message = first["msg"].removeprefix("Value error, ").removeprefix("Input ").rstrip(".")
    return (
        f"{path}: {key} is {_shown(given)}; it {message}."
        if message.startswith("should")
        else f"{path}: {key}: {message}."
    )


def _shown(given: Any) -> str:
    """What a user wrote, as far as a sentence has room for it."""
    text = repr(given)
    return text if len(text) <= 100 else f"{text[:97]}..."


def _without_index(location: tuple[Any, ...]) -> tuple[Any, ...]:
    return location[:-1] if isinstance(location[-1], int) else location


def _listed(location: tuple[Any, ...], value: str) -> str:
    return f"[{value}]" if isinstance(location[-1], int) else value


def _keys_at(location: tuple[Any, ...], first: Any) -> list[str]:
    """Keys that the settings class at a location knows."""
    settings: Any = Study
    if location[:1] == ("datasets",) and len(location) > 1:
        return [key for key in settings_class(first["loc"][2]).model_fields if key != "source"]
    tag = next((part for part in first["loc"][2:3] if part in METHODS), None)
    for part in location:
        if settings is Study:
            if part != "models":
                break
            settings = METHODS[tag].settings_class() if tag else settings
        elif part in settings.model_fields:
            annotation = settings.model_fields[part].annotation
            settings = next(
                (kind for kind in getattr(annotation, "__args__", (annotation,)) if hasattr(kind, "model_fields")),
                settings,
            )
    return list(settings.model_fields)
