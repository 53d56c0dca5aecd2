"""What was fetched of data sets, which terms were accepted, and what keeps the rest from being fetched.

Without the packages that fetch: the workflow asks this before every study.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from lookalike.core.errors import LookalikeError
from lookalike.core.files import digest, read_json, sha256, write_json
from lookalike.data.reader_input import downloads
from lookalike.data.registry import DATA_SETS, DataSet, SourceFile

RECORD, PARTLY = "fetched.json", ".fetched.json"  # the second one while files are missing


def has_own_folders(name: str) -> bool:
    """Whether the user's own unpacked folders stand for the archives (ImageNet)."""
    folder = downloads() / name
    if name != "imagenet" or not all((folder / part).is_dir() for part in ("train", "val")):
        return False
    in_folders = any(entry.is_dir() for entry in os.scandir(folder / "val"))
    return in_folders or (folder / DATA_SETS[name].files[-1].name).exists()  # the kit has the labels of a flat folder


def is_fetched(name: str) -> bool:
    """Whether everything of a data set was fetched and recorded, and still has its size."""
    folder = downloads() / name
    if not DATA_SETS[name].files or (has_own_folders(name) and (folder / RECORD).exists()):
        return True
    try:
        recorded = recorded_files(folder)
    except LookalikeError:
        return False
    return all(
        file.name in recorded
        and (folder / file.name).exists()
        and (folder / file.name).stat().st_size == recorded[file.name]["bytes"]
        for file in DATA_SETS[name].files
    )


def obstacle(name: str) -> str:
    """What keeps a data set from being fetched without a person; empty where nothing does."""
    if is_fetched(name):
        return ""
    folder = downloads() / name
    by_hand = [f for f in DATA_SETS[name].files if not f.urls and not (folder / f.name).exists()]
    reasons = []
    for check in (lambda: check_accepted(name), lambda: check_by_hand(name, by_hand * (not has_own_folders(name)))):
        try:
            check()
        except LookalikeError as error:
            reasons.append(str(error))
    return " ".join(reasons)


def verify(name: str) -> list[str]:
    """Hash everything fetched of a data set again.

    Returns:
        One sentence a fault; none where all is as it was recorded.
    """
    folder = downloads() / name
    if not (folder / RECORD).exists():
        return []
    faults = []
    for file, record in recorded_files(folder).items():
        path = folder / file
        if not path.exists():
            faults.append(f"{path} is missing; run `lookalike data fetch {name}`.")
        elif path.stat().st_size != record["bytes"] or sha256(path) != record["sha256"]:
            faults.append(f"{path} has changed since it was fetched; delete it and run `lookalike data fetch {name}`.")
    return faults


# Terms --------------------------------------------------------------------------------------------


def check_accepted(name: str) -> None:
    """Raise where the terms of a data set restrict use and nobody has accepted them yet."""
    row = DATA_SETS[name]
    if row.accept and _accepted().get(name, {}).get("terms") != terms_of(row):
        raise LookalikeError(
            f"data set {name} has terms to accept ({row.licence}); read them, then run "
            f"`lookalike data fetch {name} --accept-licence` once."
        )


def accept(name: str) -> None:
    """Record that a person accepted the terms of a data set."""
    accepted = _accepted()
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    write_json(downloads() / "licences.json", accepted | {name: {"terms": terms_of(DATA_SETS[name]), "accepted": when}})


def terms_of(row: DataSet) -> str:
    """What is accepted: other terms must be accepted anew."""
    return f"{row.licence} ({digest([row.licence, row.origin])})"


def _accepted() -> dict[str, Any]:
    path = downloads() / "licences.json"
    return read_json(path) if path.exists() else {}


def check_by_hand(name: str, missing: list[SourceFile]) -> None:
    """Raise where a person must fetch something, and say exactly what and where to."""
    if missing:
        files = ", ".join(file.name for file in missing)
        raise LookalikeError(
            f"data set {name} must be fetched by hand: {DATA_SETS[name].manual}. Put {files} into "
            f"{downloads() / name}, then run `lookalike data fetch {name}`."
        )


def recorded_files(folder: Path) -> dict[str, Any]:
    """Records of files by name, those of an unfinished fetch too."""
    recorded: dict[str, Any] = {}
    for path in (folder / RECORD, folder / PARTLY):
        recorded |= read_json(path)["files"] if path.exists() else {}
    return recorded
