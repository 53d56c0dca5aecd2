"""Checkpoints: whole or absent, and only ever resumed by the very run that wrote them."""

from __future__ import annotations

import logging
import zipfile
from pathlib import Path
from typing import Any

import torch

from lookalike.core.files import writing

log = logging.getLogger(__name__)


def save_checkpoint(path: Path, key: str, state: dict[str, Any]) -> None:
    """Write the state (tensors, numbers, text, lists and dicts of them) under the run's key."""
    with writing(path) as temporary:
        try:
            torch.save({"key": key, **state}, temporary)
        except RuntimeError as error:  # what torch's writer makes of a full disk
            raise OSError(str(error).splitlines()[0]) from error


def load_checkpoint(path: Path, key: str) -> dict[str, Any] | None:
    """The state saved under `key`, or None where there is none.

    A checkpoint of other settings, data or code is set aside as `checkpoint.other.pt`, a damaged one as
    `checkpoint.damaged.pt`; neither is thrown away, and neither stops a training that nobody watches.
    """
    if not path.exists():
        return None
    try:
        with zipfile.ZipFile(path) as archive:  # torch writes a checksum of each part, and does not look at it
            if (part := archive.testzip()) is not None:
                raise zipfile.BadZipFile(f"checksum of {part}")
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        stored = state.pop("key")
    except Exception as error:  # a damaged zip raises many kinds
        _set_aside(path, "damaged", f"is damaged ({type(error).__name__})")
        return None
    if stored == key:
        return state
    _set_aside(path, "other", "belongs to other settings, data or code")
    return None


def _set_aside(path: Path, why: str, reason: str) -> None:
    aside = path.with_suffix(f".{why}.pt")
    path.rename(aside)
    log.warning("%s %s: kept as %s, training starts anew", path, reason, aside.name)
