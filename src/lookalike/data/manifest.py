"""The manifest of prepared data, and whether the files are what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lookalike.core.errors import LookalikeError
from lookalike.core.files import sha256

HASHED_BYTES = 256 << 20  # of a whole set; larger ones are checked by size only: hashing would take longer than using


def check_files(folder: Path, files: dict[str, dict[str, Any]], thorough: bool = False) -> None:
    """Compare prepared files with their manifest.

    Args:
        folder: Folder that holds them.
        files: Name -> bytes and sha256.
        thorough: Hash a large set too.

    Raises:
        LookalikeError: One is missing or differs.
    """
    hashed = thorough or sum(record["bytes"] for record in files.values()) <= HASHED_BYTES
    for name, record in files.items():
        _check_file(folder / name, record, hashed or name == "index.parquet")


def _check_file(path: Path, record: dict[str, Any], hashed: bool) -> None:
    if not path.exists():
        raise broken(path.parent, f"lacks {path.name}")
    size = path.stat().st_size
    if size != record["bytes"]:
        raise broken(path.parent, f"has {path.name} of {size} bytes, not {record['bytes']}")
    if hashed and sha256(path) != record["sha256"]:
        raise broken(path.parent, f"has {path.name} with another content than manifest.json says")


def broken(folder: Path, what: str) -> LookalikeError:
    """The message for damaged prepared data."""
    return LookalikeError(
        f"prepared data {folder} {what}; delete {folder / 'manifest.json'} and run again to prepare it anew."
    )
