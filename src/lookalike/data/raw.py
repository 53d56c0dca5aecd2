"""What a reader hands over: images and labels as they come from the source."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class RawData:
    """A data set as read.

    Attributes:
        images: (N, C, H, W) uint8, or N files that stay encoded.
        labels: (N,) int64.
        splits: (N,) `train`, `test`, and where the source has them `validation` and others.
        class_names: One a class.
        sources: Where each image comes from, as the source names it.
        environments: (N,) int64; all zero where it is left out.
        boxes: (N, 4) float32 x, y, width, height in pixels.
        points: (N, K, 3) float32 x, y in pixels and visibility 0 or 1.
        point_names: K names.
        answers: N lists of all labels that are right (ReaL), where the source has them.
        trim: Pixels to cut off at every side.
        facts: More for the manifest.
    """

    images: np.ndarray | list[Path]
    labels: np.ndarray
    splits: np.ndarray
    class_names: list[str]
    sources: list[str]
    environments: np.ndarray | None = None
    boxes: np.ndarray | None = None
    points: np.ndarray | None = None
    point_names: tuple[str, ...] = ()
    answers: list[list[int]] | None = None
    trim: int = 0
    facts: dict[str, Any] = field(default_factory=dict)
