"""Oxford 102 Flowers: jpg/image_00001.jpg ..., imagelabels.mat (labels from 1), setid.mat (trnid, valid, tstid)."""

from __future__ import annotations

import numpy as np

from lookalike.data.matlab import read_mat
from lookalike.data.raw import RawData
from lookalike.data.reader_input import ReaderInput, inside

PARTS = {"train": "trnid", "validation": "valid", "test": "tstid"}


def read(inputs: ReaderInput) -> RawData:
    """Read the official three parts; the source names no classes, so they are called by their numbers.

    Raises:
        LookalikeError: A list or an image is missing or damaged.
    """
    folder = inputs.unpacked("102flowers.tgz")
    every = read_mat(inputs.file("imagelabels.mat"), "labels")["labels"].ravel().astype(np.int64)
    lists = inputs.file("setid.mat")
    ids = read_mat(lists, *PARTS.values())
    numbers = np.concatenate([ids[part].ravel() for part in PARTS.values()]).astype(np.int64)
    splits = np.concatenate([[split] * ids[part].size for split, part in PARTS.items()])
    names = [f"jpg/image_{number:05d}.jpg" for number in numbers]
    return RawData(
        images=[inside(folder, name, lists) for name in names],
        labels=every[numbers - 1] - 1,
        splits=splits,
        class_names=[f"flower {label}" for label in range(1, every.max() + 1)],
        sources=names,
    )
