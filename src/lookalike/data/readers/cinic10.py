"""CINIC-10: folders train, valid, test of class folders of 32 x 32 PNG files.

The order is that of an image folder: classes by name, files by name within a class. Memory Wrap's subset draw
refers to it.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from os import cpu_count

import numpy as np

from lookalike.core.errors import LookalikeError
from lookalike.data.decode import decode
from lookalike.data.image_files import class_folders
from lookalike.data.raw import RawData
from lookalike.data.reader_input import ReaderInput, images_of_parts

PARTS = {"train": "train", "validation": "valid", "test": "test"}
SIDE = 32


def read(inputs: ReaderInput) -> RawData:
    """Read the three parts.

    Raises:
        LookalikeError: A class folder is missing, or an image cannot be read or is no 32 x 32 image.
    """
    root = inputs.unpacked("CINIC-10.tar.gz")
    names = class_folders(root / "train")
    files, labels, splits = images_of_parts(root, PARTS, names)
    images = np.empty((len(files), 3, SIDE, SIDE), np.uint8)

    def fill(row: int) -> None:
        pixels = np.asarray(decode(files[row].read_bytes(), str(files[row]))[0])
        if pixels.shape != (SIDE, SIDE, 3):
            raise LookalikeError(f"{files[row]} is {pixels.shape[1]} x {pixels.shape[0]}, not {SIDE} x {SIDE} pixels.")
        images[row] = pixels.transpose(2, 0, 1)

    with ThreadPoolExecutor(cpu_count()) as pool:
        for _ in pool.map(fill, range(len(files)), chunksize=256):
            pass
    return RawData(
        images=images,
        labels=np.array(labels, np.int64),
        splits=np.array(splits),
        class_names=names,
        sources=[str(file.relative_to(root)) for file in files],
    )
