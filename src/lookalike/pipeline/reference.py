"""The generated parts of the documentation: tables of keys, backbones, data sets, stages, files, tables and figures.

A page has the marks `<!-- generated: NAME -->` and `<!-- end -->`; what stands between them is written here, from the
same declarations that the program reads. A test compares.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from lookalike.backbones.cost import count_operations
from lookalike.backbones.registry import BACKBONES, PHOTOGRAPHS, SMALL
from lookalike.contracts.settings import BackboneSettings, ReadFrom, Settings, TrainingSettings, marker_of
from lookalike.core.errors import LookalikeError
from lookalike.core.files import write_text
from lookalike.data.registry import DATA_SETS
from lookalike.data.settings import KINDS, DataSettings
from lookalike.methods.registry import METHODS
from lookalike.pipeline.cost import NETWORKS
from lookalike.pipeline.stage_table import STAGES
from lookalike.pipeline.study_file import plan_of
from lookalike.pipeline.workflow import Workflow
from lookalike.reporting.catalogue import Figure, Table, declarations, method_tables
from lookalike.study.model import Study

MARK = re.compile(r"(<!-- generated: (?P<name>[a-z_ ]+) -->\n).*?(<!-- end -->)", re.DOTALL)
# Pixels of the images that costs are counted on; 32 for all others. Small networks are as deep as their images ask.
SIDES = {PHOTOGRAPHS: (224,), SMALL: (8, 16, 32, 64)}
# Blocks that stand in a table of their own.
OWN_TABLES = (BackboneSettings, TrainingSettings)
_ORIGIN_OF_IMAGES = {"made": "those of its set"}  # of what has no number of images
SMALLEST = {"version": 2, "name": "my_study", "datasets": ["digits"], "models": {"fc": {"method": "fc"}}, "seeds": [0]}


def write_reference(folder: Path) -> list[Path]:
    """Write all generated parts of the pages below a folder, and the table of network costs.

    Args:
        folder: Folder of the documentation.

    Returns:
        The files that changed.

    Raises:
        LookalikeError: A page has the mark of a part that there is none of.
    """
    pages = {path: render_page(path.read_text(encoding="utf-8"), path) for path in sorted(folder.rglob("*.md"))}
    pages[NETWORKS] = network_costs()
    changed = [path for path, text in pages.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in changed:
        write_text(path, pages[path])
    return changed


def render_page(text: str, path: Path) -> str:
    """A page with its generated parts as they should be now."""

    def part(match: re.Match[str]) -> str:
        if match["name"] not in PARTS:
            raise LookalikeError(f"{path} has the mark {match['name']!r}; there are {', '.join(PARTS)}.")
        return match[1] + PARTS[match["name"]]() + "\n" + match[3]

    return MARK.sub(part, text)


def _table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    cells = [list(headings)]
    cells += [["---"] * len(cells[0]), *(list(row) for row in rows)]
    return "\n".join(
        "| " + " | ".join(text.replace("|", r"\|").replace("\n", " ") for text in row) + " |" for row in cells
    )


# Keys ----------------------------------------------------------------------------------------------


def _keys(kind: type[Settings], leave_out: Iterable[str] = ()) -> str:
    """The keys of a settings class: values, default, meaning, and the stage that reads them first."""
    return _table(("key", "values", "default", "meaning"), _key_rows(kind, "", set(leave_out)))


def _key_rows(kind: type[Settings], prefix: str, leave_out: set[str]) -> Iterator[list[str]]:
    schema = kind.model_json_schema()
    for name, field in kind.model_fields.items():
        if name in leave_out:
            continue
        block = _block_of(field.annotation)
        mark = marker_of(field, ReadFrom)
        late = f" Read from stage `{mark.stage}` on." if mark is not None and mark.stage not in (None, "train") else ""
        meaning = (field.description or "") + late
        values = _values(schema["properties"][name], schema.get("$defs", {}))
        yield [f"`{prefix}{name}`", values, _default(field.get_default(call_default_factory=True), field), meaning]
        if block is not None and not issubclass(block, OWN_TABLES):
            entry = "<name>." if schema["properties"][name].get("type") == "object" else ""
            yield from _key_rows(block, f"{prefix}{name}.{entry}", set())


def _block_of(annotation: Any) -> type[Settings] | None:
    """The settings class of a nested block."""
    for choice in getattr(annotation, "__args__", (annotation,)):
        if isinstance(choice, type) and issubclass(choice, Settings):
            return choice
    return None


def _default(value: Any, field: Any) -> str:
    """A default as a study writes it."""
    if field.is_required():
        return "required"
    if isinstance(value, Settings):
        return ""
    if value is None:
        return "none"
    text = json.dumps(list(value) if isinstance(value, tuple) else value).replace('"', "")
    return f"`{text}`" if text else ""


def _values(schema: dict[str, Any], definitions: dict[str, Any]) -> str:
    """What a key may be, in a few words."""
    if "$ref" in schema or "allOf" in schema or schema.get("discriminator"):
        return "block"
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_values(part, definitions) for part in schema["anyOf"]))
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    kind = schema.get("type")
    if kind == "array":
        items = schema.get("prefixItems", [schema.get("items", {})])
        return "list of " + _values(items[0], definitions) if items[0] else "empty list"
    if kind == "object":
        return "named entries"
    if kind == "null":
        return "none"
    limits = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = ", ".join(f"{sign} {schema[key]:g}" for key, sign in limits.items() if key in schema)
    names = {"integer": "whole number", "number": "number", "boolean": "true, false", "string": "text"}
    return f"{names.get(str(kind), 'value')} {bounds}".strip()


def _data_set_keys() -> str:
    """The keys of data set entries: those that all have, then those of each kind."""
    common = set(DataSettings.model_fields) - {"source"}
    parts = [f"All data sets:\n\n{_keys(DataSettings, {'source'})}"]
    for kind in KINDS:
        values = kind.model_json_schema()["properties"]["source"]
        names = ", ".join(f"`{name}`" for name in values.get("enum", [values.get("const")]))
        own_keys = set(kind.model_fields) - common - {"source"}
        if own_keys:
            parts.append(f"{(kind.__doc__ or '').strip()} {names}:\n\n{_keys(kind, {*common, 'source'})}")
    return "\n\n".join(parts)


def _method_keys() -> str:
    """The keys of model entries: those that all have, then those of each method."""
    kinds = {name: row.settings_class() for name, row in METHODS.items()}
    common = {"datasets", "train_sizes"}
    first = next(iter(kinds.values()))
    parts = [f"All methods:\n\n{_keys(first, set(first.model_fields) - common)}"]
    parts += [
        f"#### `{name}`\n\n{kind.model_fields['method'].description}\n\n{_keys(kind, {*common, 'method'})}"
        for name, kind in kinds.items()
    ]
    return "\n\n".join(parts)


# Other tables --------------------------------------------------------------------------------------


def _backbones() -> str:
    return _table(
        ("backbone", "meant for", "parameters", "operations an image", "on images of"),
        (
            [
                f"`{row['backbone']}`",
                BACKBONES[row["backbone"]].images,
                f"{int(row['parameters']):,}",
                f"{float(row['flops']):.2g}",
                f"{row['height']} pixels",
            ]
            for row in csv.DictReader(io.StringIO(network_costs()))
        ),
    )


@cache  # counting takes seconds, and two parts need it
def network_costs() -> str:
    """CSV of the operations and parameters of every backbone, on images of the sizes it is meant for."""
    lines = ["backbone,channels,height,width,flops,parameters"]
    for name, row in BACKBONES.items():
        for side in SIDES.get(row.images, (32,)):
            flops, parameters = count_operations(name, (3, side, side))
            lines.append(f"{name},3,{side},{side},{flops:.0f},{parameters}")
    return "\n".join(lines) + "\n"


def _data_sets() -> str:
    return _table(
        ("data set", "images", "classes", "download", "licence"),
        (
            [
                f"`{name}`",
                " + ".join(f"{count:,}" for count in row.images.values())
                or _ORIGIN_OF_IMAGES.get(row.form, "as you have"),
                f"{row.classes or ''}",
                f"{row.download_bytes / 1e6:,.1f} MB" if row.download_bytes else "none",
                row.licence,
            ]
            for name, row in DATA_SETS.items()
        ),
    )


def _workflow() -> Workflow:
    return Workflow(plan_of(SMALLEST, "reference"))


def _stages() -> str:
    """Rule, what a job works on, resources, and the command that does it by hand."""
    return _table(
        ("rule", "a job for each", "GPU", "hours", "does", "command"),
        (
            [
                f"`{stage.name}`",
                stage.per,
                ("where explaining needs the network" if stage.if_network else "yes") if stage.gpu else "",
                ("where it does" if stage.if_network else "yes") if stage.long else "",
                f"{stage.title}.",
                f"`lookalike {stage.verb}`",
            ]
            for stage in STAGES.values()
        ),
    )


def _files() -> str:
    """The files that each stage leaves; the first one stands for its job."""
    workflow = _workflow()
    rows = []
    for stage in STAGES.values():
        outputs: list[str] = []
        for value in workflow.outputs(stage.name).values():
            outputs += value if isinstance(value, list) else [value]
        paths = (path.replace("my_study", "STUDY").replace("{", "<").replace("}", ">") for path in outputs)
        rows.append([f"`{stage.name}`", "<br>".join(f"`{path}`" for path in paths)])
    return _table(("stage", "files"), rows)


def _shown() -> str:
    """All tables and figures, those of methods included."""
    methods = [row.settings_class() for row in METHODS.values()]
    tables = [*declarations(Table, "lookalike.reporting.tables"), *method_tables(methods)]
    figures = declarations(Figure, "lookalike.reporting.figures")
    kinds = {id(figure): figure for settings in methods for figure in settings.figures}
    rows = [["table", f"`{table.name}`", table.label, f"`{table.module}`"] for table in tables]
    rows += [["figure", f"`{figure.name}`", figure.label, f"`{figure.module}`"] for figure in figures]
    rows += [
        ["figure", f"`{figure.kind}-<explanation>`", figure.label, f"`{figure.draw.partition(':')[0]}`"]
        for figure in kinds.values()
    ]
    return _table(("", "name", "shows", "module"), rows)


PARTS: dict[str, Callable[[], str]] = {
    "study keys": lambda: _keys(Study),
    "data set keys": _data_set_keys,
    "training keys": lambda: _keys(TrainingSettings),
    "backbone keys": lambda: _keys(BackboneSettings),
    "method keys": _method_keys,
    "backbones": _backbones,
    "data sets": _data_sets,
    "stages": _stages,
    "files": _files,
    "tables and figures": _shown,
}
