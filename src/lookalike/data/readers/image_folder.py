"""A user's own images: folders train/<class>/ and test/<class>/, or a CSV file with columns file, label, split.

A set that only gives queries to the models of another one (`evaluated_with`) needs no training images.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from lookalike.core.errors import LookalikeError
from lookalike.data.raw import RawData
from lookalike.data.reader_input import ReaderInput, class_folders, images_of_parts

FOLDERS = ("train", "validation", "test")  # all but the last may be left out
COLUMNS = ("file", "label", "split")


def read(inputs: ReaderInput) -> RawData:
    """Read what the study's `path` names.

    Raises:
        LookalikeError: The path is neither, a class or a file is missing or listed twice, or there is no test set.
    """
    path = Path(inputs.settings["path"])
    if path.is_dir():
        return _folders(path)
    if path.is_file():
        return _table(path)
    raise LookalikeError(f"image_folder path {path} is missing; give a folder with train/ and test/, or a CSV file.")


def _folders(root: Path) -> RawData:
    parts = [split for split in FOLDERS if split == "test" or (root / split).exists()]
    names = class_folders(root / ("train" if "train" in parts else "test"))
    for split in parts:
        unknown = sorted(set(class_folders(root / split)) - set(names))
        if unknown:
            raise LookalikeError(f"{root / split} has the class folder {unknown[0]!r}, which train/ lacks.")
    files, labels, splits = images_of_parts(root, {split: split for split in parts}, names)
    return RawData(
        images=files,
        labels=np.array(labels, np.int64),
        splits=np.array(splits),
        class_names=names,
        sources=[str(file.relative_to(root)) for file in files],
    )


def _table(path: Path) -> RawData:
    """Files are relative to the CSV file; an optional column `environment` holds whole numbers."""
    with open(path, newline="", encoding="utf-8-sig") as handle:
        reader = csv.DictReader(handle)
        missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise LookalikeError(f"{path} lacks the column {missing[0]!r}; its first line must hold file,label,split.")
        rows = list(reader)
    for line, row in enumerate(rows, start=2):
        if any(not row[column] for column in COLUMNS):
            raise LookalikeError(f"{path} line {line}: a column is empty; every line needs file, label and split.")
    names = sorted({row["label"] for row in rows})
    seen: set[str] = set()
    for line, row in enumerate(rows, start=2):
        if row["split"] not in FOLDERS:
            raise LookalikeError(f"{path} line {line}: split is {row['split']!r}; it must be one of {FOLDERS}.")
        if row["file"] in seen:
            raise LookalikeError(f"{path} line {line}: file {row['file']!r} is listed twice; list each image once.")
        if not (path.parent / row["file"]).is_file():
            raise LookalikeError(f"{path} line {line}: file {row['file']!r} is missing below {path.parent}.")
        if not (row.get("environment") or "0").isdecimal():
            raise LookalikeError(f"{path} line {line}: environment is {row['environment']!r}, no whole number.")
        seen.add(row["file"])
    trained = any(row["split"] == "train" for row in rows)
    for split in ("train", "test") if trained else ("test",):
        lacking = sorted(set(names) - {row["label"] for row in rows if row["split"] == split})
        if lacking:
            raise LookalikeError(f"{path} has no {split} image of class {lacking[0]!r}; every class needs one.")
    return RawData(
        images=[path.parent / row["file"] for row in rows],
        labels=np.array([names.index(row["label"]) for row in rows], np.int64),
        splits=np.array([row["split"] for row in rows]),
        class_names=names,
        sources=[row["file"] for row in rows],
        environments=np.array([int(row.get("environment") or 0) for row in rows], np.int64),
    )
