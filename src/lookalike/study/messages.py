"""What messages about a study suggest to write."""

from __future__ import annotations

import difflib
from typing import Any


def as_yaml(location: tuple[Any, ...], value: str) -> str:
    """The nested YAML that sets one key, indented for a message."""
    lines = [f"{'  ' * (depth + 1)}{key}:" for depth, key in enumerate(location)]
    return "\n".join(lines) + f" {value}"


def nearest(word: Any, choices: list[str]) -> str:
    """The choice that is most like a word, or is its initials: `lr` for `learning_rate`."""
    initials = "".join(part[:1] for part in str(word).split("_"))
    if len(initials) > 1 and initials in choices:
        return initials
    close = difflib.get_close_matches(str(word)[:100], choices, n=1, cutoff=0.0)
    return close[0] if close else choices[0]
