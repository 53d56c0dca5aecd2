"""Clean test images of ImageNet: which ones, and why the others are left out.

Four filters (docs/algorithms/data.md, section 3), each leaving what it removed: images without a ReaL label,
duplicates of training images, greyscale images, images with a side below 224 pixels. The published list has 44,424.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lookalike.data.prepared import PreparedData

SMALLEST_SIDE = 224
DUPLICATE = 0.9  # cosine of the flattened last feature maps
BLOCK_BYTES = 8 << 30  # of query features at once; the training images are embedded once a block
Removed = dict[int, str]  # row -> why


def remove_unlabelled(data: PreparedData, rows: np.ndarray) -> Removed:
    """Images whose list of ReaL labels is empty."""
    answers = data.column("answers")
    return {int(row): "no ReaL label" for row in rows if len(answers[row]) == 0}


def remove_small(data: PreparedData, rows: np.ndarray) -> Removed:
    """Images with a side below 224 pixels."""
    height, width = data.column("height"), data.column("width")
    small = rows[(height[rows] < SMALLEST_SIDE) | (width[rows] < SMALLEST_SIDE)]
    return {int(row): f"{width[row]} x {height[row]} pixels" for row in small}


def remove_greyscale(data: PreparedData, rows: np.ndarray) -> Removed:
    """Images whose pixels all have equal channels."""
    return {int(row): "greyscale" for row in rows if is_greyscale(data.photograph(int(row)))}


def is_greyscale(image: Image.Image, upstream: bool = False) -> bool:
    """Whether every pixel is grey: r = g = b; the original's test also took r = g or g = b for it.

    Args:
        image: Image in RGB.
        upstream: Whether to test as the original does.
    """
    pixels = np.asarray(image)
    first, second = pixels[..., 0] == pixels[..., 1], pixels[..., 1] == pixels[..., 2]
    return bool((first | second if upstream else first & second).all())


def remove_duplicates(
    data: PreparedData, rows: np.ndarray, features: Callable[[np.ndarray], Iterator[tuple[np.ndarray, Tensor]]]
) -> Removed:
    """Images with a training image whose feature map has a cosine above 0.9.

    Memory: a block of query features, one batch of training features, and their products; never all pairs.

    Args:
        data: The prepared data set.
        rows: (n,) index rows of the test images.
        features: Index rows -> batches of rows and features (n, D) of unit length.
    """
    train = data.rows("train")
    example = next(iter(features(rows[:1])))[1]
    block = max(1, BLOCK_BYTES // (4 * example.shape[1]))
    removed: Removed = {}
    for start in range(0, len(rows), block):
        chosen = rows[start : start + block]
        queries = example.new_empty(len(chosen), example.shape[1])  # filled in place: a join takes twice
        filled = 0
        for _, batch in features(chosen):
            queries[filled : filled + len(batch)] = batch
            filled += len(batch)
        cosine, nearest = nearest_exemplars(queries, features(train))
        for row, value, training in zip(chosen, cosine.tolist(), nearest.tolist(), strict=True):
            if value > DUPLICATE:
                removed[int(row)] = f"cosine {value:.4f} with training image {training}"
    return removed


def nearest_exemplars(queries: Tensor, batches: Iterable[tuple[np.ndarray, Tensor]]) -> tuple[Tensor, Tensor]:
    """Largest cosine of each query with a stream of exemplars, and whose it is.

    Args:
        queries: (Q, D) features of unit length.
        batches: Ids (n,) and features (n, D) of unit length.

    Returns:
        (Q,) cosines and (Q,) int64 ids; the earliest exemplar wins a tie.
    """
    best = torch.full((len(queries),), -torch.inf, device=queries.device)
    whose = torch.full((len(queries),), -1, device=queries.device)
    for ids, features in batches:
        value, place = (queries @ features.T).max(1)
        better = value > best
        best = torch.where(better, value, best)
        whose = torch.where(better, torch.as_tensor(ids, device=queries.device)[place], whose)
    return best.cpu(), whose.cpu()
