"""Bring a study file of an older version to today's keys, its comments and layout kept.

The file's text is edited at the places that the YAML parser names; what an alias or a merge leads to is edited once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lookalike.core.errors import LookalikeError
from lookalike.core.files import write_text
from lookalike.study.yaml_file import parse_yaml, read_text

Where = tuple[str, ...]
# Keys of version 1 and what they are called since; `*` stands for any name.
RENAMED: dict[Where, str] = {
    ("sizes",): "train_sizes",
    ("patch",): "adversarial_patch",
    ("datasets", "*", "sizes"): "train_sizes",
    ("datasets", "*", "queries_for"): "evaluated_with",
    ("datasets", "*", "outliers_for"): "ood_for",
    ("datasets", "*", "competing_classes"): "class_subset",
    ("datasets", "*", "held_out"): "validation_size",
    ("models", "*", "sizes"): "train_sizes",
    ("models", "*", "inference", "voters"): "k",
    ("models", "*", "inference", "shortlist"): "n_candidates",
    ("models", "*", "inference", "heat_maps"): "attribution",
    ("models", "*", "prototypes", "start"): "init",
}
STAGES = {
    "make_patch": "train_adversarial_patch",
    "precompute_support": "embed",
    "score_counterfactuals": "analyse",
    "score_correspondences": "analyse",
    "show_prototypes": "analyse",
    "run_pack": "run_job_group",
}
# Values of version 1 that have another name since.
VALUES: dict[Where, Callable[[Any], Any]] = {
    ("version",): lambda value: 2 if value == 1 and value is not True else value,
    ("evaluation_sets", "*"): lambda value: _evaluation_set(value),
    ("datasets", "*", "evaluation_sets", "*"): lambda value: _evaluation_set(value),
    ("datasets", "*", "draw"): lambda value: "uniform" if value == "memory_wrap" else value,
    ("models", "*", "kernel"): lambda value: "dot" if value == "dotproduct" else value,
}
COMPAT, MOVED = ("models", "*", "compat"), ("models", "*", "inference", "compat")


def renamed_keys(values: dict[str, Any]) -> list[tuple[str, str]]:
    """Every old key and value in a study, and what is written instead; empty for a study of today.

    Args:
        values: Content of the YAML.
    """
    changes = []
    for where, value in _walk(values, ()):
        before = ".".join(where)
        pattern, parent = _pattern(where, RENAMED), ".".join(where[:-1])
        if pattern is not None:
            changes.append((before, f"{parent}.{RENAMED[pattern]}".lstrip(".")))
        elif _matches(where, ("resources", "*")) and where[1] != _stage(where[1]):
            changes.append((before, f"resources.{_stage(where[1])}"))
        elif _matches(where, MOVED):
            changes.append(
                (f"{before}: {_text(value)}", f"models.{where[1]}.compat: upstream" if value else "left out")
            )
        elif _matches(where, COMPAT) and value == "corrected":
            changes.append((f"{before}: {value}", "left out"))
        elif (pattern := _pattern(where, VALUES)) and VALUES[pattern](value) != value:
            changes.append((f"{before}: {_text(value)}", f"{before}: {VALUES[pattern](value)}"))
    return changes


def migrate(path: Path) -> str:
    """Rewrite a study file with today's keys.

    Args:
        path: The file.

    Returns:
        What was changed, in a few words.

    Raises:
        LookalikeError: The file is missing, is no YAML of a study, has nothing to change, or must be changed by hand.
    """
    text = read_text(path)  # its ends of lines as they are
    values = parse_yaml(text, path)
    root = yaml.compose(text, yaml.SafeLoader)
    if not isinstance(root, yaml.MappingNode) or not isinstance(values, dict):
        raise LookalikeError(f"{path} holds no study; start from config.yaml.")
    changes = renamed_keys(values)
    if not changes:
        raise LookalikeError(f"{path} has no key of an older version; nothing was changed.")
    _check_stages(path, values)
    edits = sorted(set(_edits(text, root, ())), reverse=True)
    for edit in edits:
        text = text[: edit.start] + edit.text + text[edit.end :]
    if not _is_of_today(text, path):
        lines = "".join(f"\n  {before} is now {after}" for before, after in changes)
        raise LookalikeError(f"{path} is written in a way that cannot be rewritten; change it by hand:{lines}")
    write_text(path, text)
    return f"{len(edits)} place{'s' * (len(edits) > 1)} changed"


def _check_stages(path: Path, values: dict[str, Any]) -> None:
    """Raise where two keys of `resources` would get the same name."""
    keys: dict[str, str] = {}
    for key in map(str, values.get("resources") or ()):
        other = keys.setdefault(_stage(key), key)
        if other != key:
            raise LookalikeError(
                f"{path}: resources has {other} and {key}, which are both {_stage(key)} now; take one of the two out."
            )


def _is_of_today(text: str, path: Path) -> bool:
    """Whether a rewritten study can be read, and has no key of an older version."""
    try:
        return not renamed_keys(parse_yaml(text, path))
    except LookalikeError:
        return False


@dataclass(frozen=True, order=True)
class _Edit:
    """Text that takes the place of characters `start` to `end`."""

    start: int
    end: int
    text: str


def _edits(text: str, node: Any, where: Where) -> Iterator[_Edit]:
    """Edits of a node and all below it; what an alias leads to is met more than once."""
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _edits(text, item, (*where, "*"))
    if isinstance(node, yaml.ScalarNode) and (pattern := _pattern(where, VALUES)):
        value = int(node.value) if where == ("version",) and node.value.isdigit() else node.value
        if VALUES[pattern](value) != value:
            yield _renaming(text, node, str(VALUES[pattern](value)))
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        if key.tag == "tag:yaml.org,2002:merge":
            for part in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                yield from _edits(text, part, where)
            continue
        below = (*where, str(key.value))
        if pattern := _pattern(below, RENAMED):
            yield _renaming(text, key, RENAMED[pattern])
        elif _matches(below, ("resources", "*")) and _stage(key.value) != key.value:
            yield _renaming(text, key, _stage(key.value))
        elif _matches(below, MOVED) or (_matches(below, COMPAT) and value.value == "corrected"):
            yield _removal(text, node, key, value)
            continue
        yield from _edits(text, value, below)
    if _matches(where, ("models", "*")) and _old_compat(node):
        yield _insertion(text, node)


def _renaming(text: str, node: yaml.ScalarNode, new: str) -> _Edit:
    """Write another word where one stands; its anchor, tag and quotes stay."""
    start = _behind(r"(?:[&!]\S*\s+)*", text, node.start_mark.index)
    quote = node.style if node.style in ("'", '"') else ""
    return _Edit(start, node.end_mark.index, quote + new + quote)


def _insertion(text: str, model: yaml.MappingNode) -> _Edit:
    """Put `compat: upstream` behind a model's method, or first where a merge gives the method."""
    entry = "compat: upstream"
    key, value = next((pair for pair in model.value if pair[0].value == "method"), model.value[0])
    newline = ("\r\n" if "\r\n" in text else "\n") + " " * key.start_mark.column
    if key.value != "method":
        return _Edit(key.start_mark.index, key.start_mark.index, entry + (", " if model.flow_style else newline))
    end = _end(text, key, value)
    if not model.flow_style:  # behind a comment
        end = _behind(r"[^\r\n]*", text, end)
    return _Edit(end, end, (", " if model.flow_style else newline) + entry)


def _old_compat(model: yaml.MappingNode) -> bool:
    """Whether a model's inference asks for the authors' behaviour, itself or by a merge."""
    parts = [value for key, value in model.value if key.value == "inference"]
    for part in parts:
        if not isinstance(part, yaml.MappingNode):
            continue
        for key, value in part.value:
            if key.tag == "tag:yaml.org,2002:merge":
                parts += value.value if isinstance(value, yaml.SequenceNode) else [value]
            elif key.value == "compat" and value.value.lower() in ("upstream", "true", "yes", "on"):
                return True
    return False


def _removal(text: str, node: yaml.MappingNode, key: Any, value: Any) -> _Edit:
    """Take an entry out: with its comma where it stands in braces, else with its line."""
    start, end = key.start_mark.index, _end(text, key, value)
    if len(node.value) == 1:
        return _Edit(start, end, "" if node.flow_style else "{}")
    if not node.flow_style:
        stop = text.find("\n", end)
        return _Edit(text.rfind("\n", 0, start) + 1, len(text) if stop < 0 else stop + 1, "")
    after = _behind(r"\s*,\s*", text, end)
    if after > end:
        return _Edit(start, after, "")
    before = re.search(r",\s*$", text[:start])
    return _Edit(before.start() if before else start, end, "")


def _end(text: str, key: Any, value: Any) -> int:
    """Where a value ends behind its key; the parser tells of an alias where its anchor is."""
    alias = _behind(r"\s*:\s*\*[^\s,\]}]+", text, key.end_mark.index)
    return alias if alias > key.end_mark.index else int(value.end_mark.index)


def _behind(pattern: str, text: str, start: int) -> int:
    """Place behind what a pattern matches at a place; the place itself where it does not match."""
    match = re.compile(pattern).match(text, start)
    return match.end() if match else start


def _evaluation_set(value: Any) -> Any:
    return re.sub("-patch$", "-adversarial_patch", value) if isinstance(value, str) else value


def _walk(value: Any, where: Where) -> Iterator[tuple[Where, Any]]:
    """Every key and list entry below a value, with its place."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if not (where == () and str(key).startswith("x-")):
                yield (*where, str(key)), inner
                yield from _walk(inner, (*where, str(key)))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield (*where, "*"), inner


def _matches(where: Where, pattern: Where) -> bool:
    return len(where) == len(pattern) and all(p in ("*", w) for w, p in zip(where, pattern, strict=True))


def _pattern(where: Where, table: dict[Where, Any]) -> Where | None:
    return next((pattern for pattern in table if _matches(where, pattern)), None)


def _stage(key: str) -> str:
    """A key of `resources` with the stage's name of today."""
    stage, slash, model = str(key).partition("/")
    return STAGES.get(stage, stage) + slash + model


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
