"""Key points in the frame that models see."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lookalike.data.crops import inside_box
from lookalike.data.prepared import PreparedData
from lookalike.data.settings import PhotographSettings


def framed_points(data: PreparedData, rows: np.ndarray) -> Tensor | None:
    """Key points of images as models see them: trimmed, cut and resized.

    Args:
        data: The prepared data set.
        rows: (n,) index rows.

    Returns:
        (n, P, 3): x and y between 0 and 1 of the image, 1 where the point is visible and inside; None where the data
        set has no key points.
    """
    if "points" not in data.columns:
        return None
    points = data.column("points")[rows].reshape(len(rows), -1, 3).astype(np.float64)
    if not data.encoded:
        height, width = data.image_shape[1:]
        at = points[..., :2] / [width, height]
    else:
        at = _in_square(data, rows, points[..., :2])
    inside = ((at >= 0) & (at < 1)).all(-1) & (points[..., 2] > 0)
    return torch.from_numpy(np.concatenate([at, inside[..., None]], -1).astype(np.float32))


def _in_square(data: PreparedData, rows: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Pixels (n, P, 2) of photographs as shares of the square that is cut out of them; see `Photographs`."""
    settings = data.settings
    assert isinstance(settings, PhotographSettings)
    trim = data.manifest["trim"]
    size = np.stack([data.column("width")[rows], data.column("height")[rows]], 1) - 2.0 * trim
    at = at - trim
    if getattr(settings, "box", False):
        boxes = [inside_box(box, (int(w), int(h))) for box, (w, h) in zip(data.boxes[rows], size, strict=True)]
        corners = np.array(boxes, np.float64).reshape(-1, 2, 2)
        at, size = at - corners[:, :1], corners[:, 1] - corners[:, 0]
    if settings.fit == "squash":
        return np.asarray(at / size[:, None])
    # As torchvision: the longer side is cut to whole pixels, the margins are rounded.
    resized = np.floor(settings.resize * size / size.min(1, keepdims=True))
    margin = np.round((resized - settings.size) / 2)
    return np.asarray((at * (resized / size)[:, None] - margin[:, None]) / settings.size)
