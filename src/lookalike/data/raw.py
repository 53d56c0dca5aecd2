"""What a reader hands over: images and labels as they come from the source."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class RawData:
    """A small-image data set in memory.

    Attributes:
        images: (N, C, H, W) uint8.
        labels: (N,) int64.
        splits: (N,) `train` or `test`.
        class_names: one a class.
        environments: (N,) int64; all zero where there is only one.
        source_file: where every image comes from.
    """

    images: np.ndarray
    labels: np.ndarray
    splits: np.ndarray
    class_names: list[str]
    environments: np.ndarray
    source_file: str
