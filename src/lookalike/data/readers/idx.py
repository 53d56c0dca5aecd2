"""MNIST and Fashion-MNIST: gzipped IDX files (http://yann.lecun.com/exdb/mnist/, section "File formats")."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np

from lookalike.core.errors import LookalikeError
from lookalike.data.raw import RawData
from lookalike.data.reader_input import ReaderInput

UNSIGNED_BYTE = 8
PARTS = {"train": "train", "test": "t10k"}
FASHION = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]


def read(inputs: ReaderInput) -> RawData:
    """Read both parts.

    Raises:
        LookalikeError: A file is missing, damaged, or not IDX; images and labels differ in number.
    """
    images, labels, splits = [], [], []
    for split, part in PARTS.items():
        pixels = read_idx(inputs.file(f"{part}-images-idx3-ubyte.gz"), 3)
        classes = read_idx(inputs.file(f"{part}-labels-idx1-ubyte.gz"), 1)
        if len(pixels) != len(classes):
            raise LookalikeError(
                f"{part}-images-idx3-ubyte.gz has {len(pixels)} images, {part}-labels-idx1-ubyte.gz {len(classes)} "
                f"labels; run `lookalike data verify {inputs.name}`."
            )
        images.append(pixels[:, None])
        labels.append(classes)
        splits += [split] * len(classes)
    return RawData(
        images=np.concatenate(images),
        labels=np.concatenate(labels).astype(np.int64),
        splits=np.array(splits),
        class_names=FASHION if inputs.name == "fashion_mnist" else [str(digit) for digit in range(10)],
        sources=[f"{PARTS[split]}-images-idx3-ubyte.gz" for split in splits],
    )


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """The array of unsigned bytes of a gzipped IDX file."""
    try:
        content = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise LookalikeError(f"{path} is truncated or damaged ({error}); delete it and fetch it again.") from None
    header = 4 + 4 * dimensions
    shape = np.frombuffer(content[4:header], ">i4")
    if content[:4] != bytes((0, 0, UNSIGNED_BYTE, dimensions)) or len(content) != header + np.prod(shape):
        raise LookalikeError(f"{path} is no IDX file of {dimensions} dimensions; delete it and fetch it again.")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)
