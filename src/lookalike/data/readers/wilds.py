"""Camelyon17 and FMoW in the layout of WILDS: metadata in CSV, environments are hospitals and years."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from lookalike.core.errors import LookalikeError
from lookalike.data.raw import RawData
from lookalike.data.reader_input import ReaderInput, inside

VALIDATION_HOSPITAL, TEST_HOSPITAL = "1", "2"  # WILDS: the hospitals kept out of training
FIRST_YEAR, VALIDATION_YEAR, TEST_YEAR = 2002, 2013, 2016


def read(inputs: ReaderInput) -> RawData:
    """Read the official splits.

    Raises:
        LookalikeError: Metadata or an image is missing, or a column has another form.
    """
    return _camelyon17(inputs) if inputs.name == "camelyon17" else _fmow(inputs)


def _camelyon17(inputs: ReaderInput) -> RawData:
    """Patches of lymph nodes; training hospitals 0, 3, 4, validation 1, test 2; split 1 is held out within."""
    root = _root(inputs.unpacked("camelyon17_v1.0.tar.gz"), "metadata.csv")
    rows = _rows(root / "metadata.csv", "patient", "node", "x_coord", "y_coord", "tumor", "center", "split")
    names, labels, splits, hospitals = [], [], [], []
    for row in rows:
        folder = f"patient_{int(row['patient']):03d}_node_{row['node']}"
        names.append(f"patches/{folder}/patch_{folder}_x_{row['x_coord']}_y_{row['y_coord']}.png")
        labels.append(int(row["tumor"]))
        hospitals.append(int(row["center"]))
        kept_out = {VALIDATION_HOSPITAL: "validation", TEST_HOSPITAL: "test"}.get(row["center"])
        splits.append(kept_out or ("id_validation" if row["split"] == "1" else "train"))
    return RawData(
        images=[inside(root, name, root / "metadata.csv") for name in names],
        labels=np.array(labels, np.int64),
        splits=np.array(splits),
        class_names=["normal", "tumor"],
        sources=names,
        environments=np.array(hospitals, np.int64),
    )


def _fmow(inputs: ReaderInput) -> RawData:
    """Satellite images by use of land; years before 2013 train, 2013 to 2015 validate, later ones test.

    Rows of the training part taken in 2013 or later, and the sequence part, belong to no split (WILDS).
    """
    root = _root(inputs.unpacked("fmow_v1.1.tar.gz"), "rgb_metadata.csv")
    rows = _rows(root / "rgb_metadata.csv", "split", "category", "timestamp")
    classes = sorted({row["category"] for row in rows})
    late = {"val": "validation", "test": "test"}
    early = {"train": "train", "val": "id_validation", "test": "id_test"}
    names, labels, splits, years = [], [], [], []
    for number, row in enumerate(rows):
        year = int(row["timestamp"][:4])
        if row["split"] not in early:
            continue
        if year < VALIDATION_YEAR:
            split = early[row["split"]]
        elif (
            (row["split"] == "val" and year >= TEST_YEAR)
            or (row["split"] == "test" and year < TEST_YEAR)
            or row["split"] == "train"
        ):
            continue
        else:
            split = late[row["split"]]
        names.append(f"images/rgb_img_{number}.png")
        labels.append(classes.index(row["category"]))
        splits.append(split)
        years.append(year - FIRST_YEAR)
    return RawData(
        images=[inside(root, name, root / "rgb_metadata.csv") for name in names],
        labels=np.array(labels, np.int64),
        splits=np.array(splits),
        class_names=classes,
        sources=names,
        environments=np.array(years, np.int64),
    )


def _root(folder: Path, metadata: str) -> Path:
    """Where the metadata lies: at the top of the archive or in its one folder."""
    tables = sorted(folder.glob(f"*/{metadata}")) + sorted(folder.glob(metadata))
    if len(tables) != 1:
        raise LookalikeError(f"{folder} holds {len(tables)} files {metadata}, not one; fetch the source again.")
    return tables[0].parent


def _rows(path: Path, *columns: str) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as handle:
        reader = csv.DictReader(handle)
        missing = [name for name in columns if name not in (reader.fieldnames or ())]
        if missing:
            raise LookalikeError(f"{path} lacks the column {missing[0]}; fetch the source again.")
        return list(reader)
