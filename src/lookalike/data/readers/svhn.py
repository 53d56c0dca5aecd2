"""SVHN, cropped digits: MATLAB files with X (32, 32, 3, N) and y (N, 1), where 10 stands for the digit 0."""

from __future__ import annotations

import numpy as np

from lookalike.data.matlab import read_mat
from lookalike.data.raw import RawData
from lookalike.data.reader_input import ReaderInput


def read(inputs: ReaderInput) -> RawData:
    """Read the training and the test part.

    Raises:
        LookalikeError: A file is missing or damaged.
    """
    images, labels, splits = [], [], []
    for split in ("train", "test"):
        content = read_mat(inputs.file(f"{split}_32x32.mat"), "X", "y")
        images.append(np.ascontiguousarray(content["X"].transpose(3, 2, 0, 1)))
        labels.append(content["y"].ravel().astype(np.int64) % 10)
        splits += [split] * len(labels[-1])
    return RawData(
        images=np.concatenate(images),
        labels=np.concatenate(labels),
        splits=np.array(splits),
        class_names=[str(digit) for digit in range(10)],
        sources=[f"{split}_32x32.mat" for split in splits],
    )
