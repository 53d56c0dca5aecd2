"""CUB-200-2011: lists of images, labels, official split, bounding boxes, 15 part locations."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lookalike.core.errors import LookalikeError
from lookalike.data.raw import RawData
from lookalike.data.reader_input import ReaderInput, inside


def read(inputs: ReaderInput) -> RawData:
    """Read the official split; `is_training_image` is 1 for the 5,994 training images (the archive's README).

    Raises:
        LookalikeError: A list or an image is missing, or the lists do not fit together.
    """
    root = inputs.unpacked("CUB_200_2011.tgz")
    folder = root / "CUB_200_2011"
    names = dict(_table(folder / "images.txt", 2))
    number = {image: row for row, image in enumerate(names)}
    classes = dict(_table(folder / "classes.txt", 2))
    labels, training = np.full(len(names), -1), np.full(len(names), -1)
    for image, label in _table(folder / "image_class_labels.txt", 2):
        labels[number[image]] = list(classes).index(label) if label in classes else -1
    for image, flag in _table(folder / "train_test_split.txt", 2):
        training[number[image]] = int(flag)
    boxes = np.full((len(names), 4), np.nan, np.float32)
    for image, *box in _table(folder / "bounding_boxes.txt", 5):
        boxes[number[image]] = [float(value) for value in box]
    if (labels < 0).any() or (training < 0).any() or np.isnan(boxes).any():
        raise LookalikeError(f"the lists in {folder} do not cover the same images; fetch the source again.")
    parts = dict(_table(folder / "parts" / "parts.txt", 2))
    part = {key: column for column, key in enumerate(parts)}
    points = np.zeros((len(names), len(parts), 3), np.float32)
    for image, which, x, y, visible in _table(folder / "parts" / "part_locs.txt", 5):
        points[number[image], part[which]] = float(x), float(y), float(visible)
    return RawData(
        images=[inside(folder / "images", name, folder / "images.txt") for name in names.values()],
        labels=labels.astype(np.int64),
        splits=np.where(training == 1, "train", "test"),
        class_names=list(classes.values()),
        sources=list(names.values()),
        boxes=boxes,
        points=points,
        point_names=tuple(parts.values()),
    )


def _table(path: Path, columns: int) -> list[list[str]]:
    """Rows of a list with columns parted by spaces; the last column may hold spaces."""
    try:
        rows = [line.split(" ", columns - 1) for line in path.read_text(encoding="utf-8").splitlines() if line]
    except FileNotFoundError:
        raise LookalikeError(f"{path} is missing in the archive; fetch the source again.") from None
    for row in rows:
        if len(row) != columns:
            raise LookalikeError(f"{path} has the line {' '.join(row)!r}, not {columns} columns; fetch it again.")
    return rows
