"""A user's own images: which files there are, of which class and split, and what their bytes are.

The workflow watches this very list, so that whatever the reader reads is noticed when it changes. Without numpy: a
plan is made with it.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from lookalike.core.errors import LookalikeError
from lookalike.core.files import digest, read_json, sha256, write_json
from lookalike.data.image_files import class_folders
from lookalike.data.reader_input import images_below

FOLDERS = ("train", "validation", "test")  # all but the last may be left out
COLUMNS = ("file", "label", "split")
LARGEST_TABLE = 1 << 28  # bytes: two million lines
MOST_DIGITS = 9  # of an environment
HASHES = Path("results/data/.own_images")


@dataclass(frozen=True)
class OwnImages:
    """Images in the order in which they are read.

    Attributes:
        files: Where they lie.
        labels: Class of each, as a place in `class_names`.
        splits: Split of each.
        class_names: Names of the classes.
        sources: How the user names each.
        environments: Number of each image's environment.
        left_out: Files that are no images, and hidden or system folders.
    """

    files: list[Path]
    labels: list[int]
    splits: list[str]
    class_names: list[str]
    sources: list[str]
    environments: list[int]
    left_out: list[Path] = field(default_factory=list)


def list_images(path: Path) -> OwnImages:
    """What the study's `path` names: folders train/<class>/ and test/<class>/, or a CSV file.

    Raises:
        LookalikeError: The path is neither, a class or a file is missing or listed twice, or there is no test set.
    """
    if path.is_dir():
        return _folders(path)
    if path.is_file():
        return _table(path)
    raise LookalikeError(f"image_folder path {path} is missing; give a folder with train/ and test/, or a CSV file.")


def hash_of_images(path: Path) -> str:
    """What a user's own images follow from: names, classes, splits and bytes of all that is read; no times.

    A file whose size and time are cached from before is not read again. Of images that cannot be listed, what is wrong.
    """
    try:
        listed = list_images(path)
    except LookalikeError as error:
        return digest(str(error))
    hashes = _hashes(path, listed.files)
    return digest([listed.sources, listed.labels, listed.splits, listed.class_names, listed.environments, hashes])


def _hashes(path: Path, files: list[Path]) -> list[str]:
    """sha256 of files; what was computed before lies in results/data/.own_images."""
    kept = HASHES / f"{digest(str(path.resolve()))}.json"
    try:
        cached: dict[str, list[object]] = read_json(kept)
    except LookalikeError:
        cached = {}
    keys = []
    for file in files:
        status = file.stat()
        keys.append([status.st_size, status.st_mtime_ns, status.st_ino])
    fresh = {
        str(file): key
        for file, key in zip(files, keys, strict=True)
        if json.dumps(cached.get(str(file), [None])[:-1]) != json.dumps(key)
    }
    if fresh:
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            hashed = dict(zip(fresh, pool.map(sha256, fresh), strict=True))
        cached |= {name: [*key, hashed[name]] for name, key in fresh.items()}
        write_json(kept, {str(file): cached[str(file)] for file in files})
    return [str(cached[str(file)][-1]) for file in files]


def _folders(root: Path) -> OwnImages:
    parts = [split for split in FOLDERS if split == "test" or (root / split).exists()]
    names = class_folders(root / ("train" if "train" in parts else "test"))
    listed = OwnImages([], [], [], names, [], [])
    for split in parts:
        unknown = sorted(set(class_folders(root / split)) - set(names))
        if unknown:
            raise LookalikeError(f"{root / split} has the class folder {unknown[0]!r}, which train/ lacks.")
        listed.left_out.extend(path for path in sorted((root / split).iterdir()) if path.name not in names)
        files, labels, left_out = images_below(root / split, names)
        listed.files.extend(files)
        listed.labels.extend(labels)
        listed.splits.extend([split] * len(files))
        listed.left_out.extend(left_out)
    listed.sources.extend(str(file.relative_to(root)) for file in listed.files)
    listed.environments.extend([0] * len(listed.files))
    return listed


def _table(path: Path) -> OwnImages:
    """Files are relative to the CSV file; an optional column `environment` holds whole numbers."""
    rows = list(_rows(path))
    names = sorted({row["label"] for _, row in rows})
    label_of = {name: label for label, name in enumerate(names)}
    seen: dict[str, int] = {}
    for line, row in rows:
        if row["split"] not in FOLDERS:
            raise LookalikeError(f"{path} line {line}: split is {row['split']!r}; it must be one of {FOLDERS}.")
        file = path.parent / row["file"]
        if not file.is_file():
            raise LookalikeError(f"{path} line {line}: file {row['file']!r} is missing below {path.parent}.")
        first = seen.setdefault(os.path.realpath(file), line)
        if first != line:
            raise LookalikeError(
                f"{path} line {line}: file {row['file']!r} is listed twice, in line {first} too; list each image once."
            )
        environment = row.get("environment") or "0"
        if not (environment.isascii() and environment.isdecimal() and len(environment) <= MOST_DIGITS):
            raise LookalikeError(
                f"{path} line {line}: environment is {environment[:30]!r}; write a whole number of at most "
                f"{MOST_DIGITS} digits."
            )
    trained = any(row["split"] == "train" for _, row in rows)
    for split in ("train", "test") if trained else ("test",):
        lacking = sorted(set(names) - {row["label"] for _, row in rows if row["split"] == split})
        if lacking:
            raise LookalikeError(f"{path} has no {split} image of class {lacking[0]!r}; every class needs one.")
    return OwnImages(
        files=[path.parent / row["file"] for _, row in rows],
        labels=[label_of[row["label"]] for _, row in rows],
        splits=[row["split"] for _, row in rows],
        class_names=names,
        sources=[row["file"] for _, row in rows],
        environments=[int(row.get("environment") or 0) for _, row in rows],
    )


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Line numbers and cells of a table.

    Raises:
        LookalikeError: It is no CSV in UTF-8, lacks a column, or a cell is empty.
    """
    if path.stat().st_size > LARGEST_TABLE:
        raise LookalikeError(f"{path} has more than {LARGEST_TABLE} bytes; a table of images has file,label,split.")
    try:
        with open(path, newline="", encoding="utf-8-sig") as handle:
            reader = csv.DictReader(handle, strict=True)
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise LookalikeError(
                    f"{path} lacks the column {missing[0]!r}; its first line must hold file,label,split."
                )
            count = 0
            for row in reader:
                count += 1
                if any(not row[column] for column in COLUMNS):
                    raise LookalikeError(
                        f"{path} line {reader.line_num}: a column is empty; every line needs file, label and split."
                    )
                yield reader.line_num, row
            if not count:
                raise LookalikeError(f"{path} holds a heading alone; give one line an image below it.")
    except UnicodeDecodeError as error:
        raise LookalikeError(
            f'{path} is no text in UTF-8 (byte {error.start}); save it as "CSV UTF-8", not as a workbook.'
        ) from None
    except csv.Error as error:
        raise LookalikeError(f"{path} is no CSV ({error}); look for a quotation mark that is not closed.") from None
