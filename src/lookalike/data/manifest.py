"""The manifest of prepared data, and whether the files are what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lookalike.errors import LookalikeError
from lookalike.files import sha256

HASHED_BYTES = 256 << 20  # larger files are checked by size only: hashing them would take longer than using them


def check_file(path: Path, known: dict[str, Any], whole: bool = False) -> None:
    """Compare a prepared file with its manifest.

    Args:
        path: of the file.
        known: bytes and sha256.
        whole: hash large files too.

    Raises:
        LookalikeError: it is missing or differs.
    """
    if not path.exists():
        raise broken(path.parent, f"lacks {path.name}")
    size = path.stat().st_size
    if size != known["bytes"]:
        raise broken(path.parent, f"has {path.name} of {size} bytes, not {known['bytes']}")
    if (whole or size <= HASHED_BYTES) and sha256(path) != known["sha256"]:
        raise broken(path.parent, f"has {path.name} with another content than manifest.json says")


def broken(folder: Path, what: str) -> LookalikeError:
    """The message for damaged prepared data."""
    return LookalikeError(
        f"prepared data {folder} {what}; delete {folder / 'manifest.json'} and run again to prepare it anew."
    )
