"""The one reader of YAML that people write: bounded, without tags, and no key twice.

PyYAML's safe loader executes nothing, but it lets the last of two equal keys win, follows aliases that unfold to
gigabytes, and reads an integer of any length. The text is therefore looked through as events first, whose nesting and
size are bounded, and loaded only then.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from lookalike.core.errors import LookalikeError

_TAG = "tag:yaml.org,2002:"
_RESOLVER = yaml.resolver.Resolver()
# Many times the largest study that ships: 6 kB, written out 40 kB and 2,000 values. PyYAML reads as much in a second.
MOST_BYTES = 1 << 17
MOST_VALUES = 20_000
MOST_DEPTH = 30
MOST_DIGITS = {f"{_TAG}int": 18, f"{_TAG}float": 30}  # 64 bits; Python refuses to convert more than 4,300 digits
MOST_LETTERS = 10_000  # of one text
# Keys of the template language YTE, which Snakemake runs in what is given to --configfile.
TEMPLATE_KEYS = ("?", "__use_yte__", "__definitions__", "__variables__", "__set_after_load__")
_KEYS = {f"{_TAG}str", f"{_TAG}merge"}


def read_text(path: Path) -> str:
    """The text of a study file, as it is (ends of lines too).

    Raises:
        LookalikeError: The file is missing, no regular file, too large, or not UTF-8.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise LookalikeError(f"study {path} is no file; give the path of a study's YAML file.")
        if status.st_size > MOST_BYTES:
            raise LookalikeError(f"study {path} has {status.st_size} bytes; a study has at most {MOST_BYTES}.")
        return path.read_bytes().decode("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise LookalikeError(f"study {path} is missing; give the path of a study's YAML file.") from None
    except UnicodeDecodeError as error:
        raise LookalikeError(
            f"study {path} is not UTF-8 (byte {error.start}); save it with that encoding in your editor."
        ) from None
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        reason = getattr(error, "strerror", None) or error
        raise LookalikeError(f"study {str(path)[:200]} cannot be read ({reason}); give the path of its file.") from None


def read_yaml(path: Path) -> Any:
    """The content of a YAML file.

    Raises:
        LookalikeError: See `read_text` and `parse_yaml`.
    """
    return parse_yaml(read_text(path), path)


def parse_yaml(text: str, path: Path) -> Any:
    """The values of a study's text.

    Args:
        text: The text.
        path: Path of its file, for messages.

    Raises:
        LookalikeError: It is no YAML; has a tag, a key twice, a key that is no text or number, a number of very many
            digits; or is too deep or too large once its aliases are followed. The message names the line.
    """
    try:
        _check(text)
        return yaml.safe_load(text)
    except _OddYAMLError as error:
        raise LookalikeError(f"study {path}, line {error.line}: {error.what}") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = "" if mark is None else f", line {mark.line + 1}"
        raise LookalikeError(f"study {path}{where}: this is not valid YAML ({_problem(error)}).") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: 2024-13-45 looks like a date
        raise LookalikeError(f"study {path} is not valid YAML ({str(error).splitlines()[0][:200]}).") from None


def _problem(error: yaml.MarkedYAMLError) -> str:
    return ", ".join(part for part in (error.context, error.problem) if part)[:200]


class _OddYAMLError(Exception):
    """YAML that a study may not have."""

    def __init__(self, event: yaml.Event, what: str) -> None:
        super().__init__(what)
        self.line, self.what = line_of(event), what


@dataclass
class _Node:
    """A collection that is being read.

    Attributes:
        anchor: Its name, where it has one.
        is_mapping: Whether it has keys.
        keys: The keys read so far, with their lines.
        children: Number of keys and values read so far, as written.
        size: Number of values below it, aliases followed.
    """

    anchor: str | None
    is_mapping: bool
    keys: dict[str, int] = field(default_factory=dict)
    children: int = 0
    size: int = 1

    @property
    def awaits_key(self) -> bool:
        return self.is_mapping and self.children % 2 == 0


def _check(text: str) -> None:
    """Look through all events; raise `_OddYAMLError` at the first that is refused."""
    open_nodes: list[_Node] = []
    sizes: dict[str, int] = {}  # of anchors
    for event in yaml.parse(text, yaml.SafeLoader):
        if isinstance(event, yaml.CollectionStartEvent | yaml.ScalarEvent) and event.tag is not None:
            raise _OddYAMLError(event, f"{str(event.tag)[:80]!r} is a tag, and a study has none; write plain values.")
        if isinstance(event, yaml.CollectionStartEvent):
            if open_nodes and open_nodes[-1].awaits_key:
                raise _OddYAMLError(event, "a key is a list or a mapping; keys are names.")
            if len(open_nodes) == MOST_DEPTH:
                raise _OddYAMLError(event, f"this is nested more than {MOST_DEPTH} deep; no key of a study is.")
            open_nodes.append(_Node(event.anchor, isinstance(event, yaml.MappingStartEvent)))
            continue
        if isinstance(event, yaml.CollectionEndEvent):
            node = open_nodes.pop()
            anchor, size = node.anchor, node.size
        elif isinstance(event, yaml.ScalarEvent):
            _check_scalar(event, open_nodes[-1] if open_nodes else None)
            anchor, size = event.anchor, 1
        elif isinstance(event, yaml.AliasEvent):
            if open_nodes and open_nodes[-1].awaits_key:
                raise _OddYAMLError(event, "an alias stands where a key does; keys are names.")
            if event.anchor not in sizes:
                raise _OddYAMLError(event, f"*{event.anchor} stands for nothing that is complete before it.")
            anchor, size = None, sizes[event.anchor]
        else:
            continue
        if anchor is not None:
            sizes[anchor] = size
        if open_nodes:
            open_nodes[-1].children += 1
            open_nodes[-1].size += size
            if open_nodes[-1].size > MOST_VALUES:
                raise _OddYAMLError(event, f"there are more than {MOST_VALUES} values by now, aliases followed.")


def _check_scalar(event: yaml.ScalarEvent, parent: _Node | None) -> None:
    text = event.value
    kind = _RESOLVER.resolve(yaml.ScalarNode, text, event.implicit)
    if len(text) > MOST_DIGITS.get(kind, MOST_LETTERS):
        raise _OddYAMLError(event, f"{text[:20]!r}... has {len(text)} characters; nothing in a study is that long.")
    if parent is None or not parent.awaits_key:
        return
    if kind not in _KEYS:
        what = {"bool": "true or false", "null": "nothing", "timestamp": "a date"}.get(kind[len(_TAG) :], "a number")
        raise _OddYAMLError(event, f"YAML reads the key {text} as {what}; put it in quotes: '{text}'.")
    if text.startswith(TEMPLATE_KEYS):
        raise _OddYAMLError(event, f"{text[:80]!r} is a template's key, whose lines are code; a study has none.")
    if text in parent.keys:
        raise _OddYAMLError(event, f"{text[:80]!r} is there twice, in line {parent.keys[text]} too; keep one.")
    parent.keys[text] = line_of(event)


def line_of(event: yaml.Event) -> int:
    """The line that an event begins in, counted from 1."""
    return 1 if event.start_mark is None else event.start_mark.line + 1
