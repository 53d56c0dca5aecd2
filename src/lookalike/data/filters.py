"""Clean test images of ImageNet: which ones, and why the others are left out.

Four filters (spec of kNN and EMD-Corr, section 6.3), each leaving what it removed: images without a ReaL label,
duplicates of training images, greyscale images, images with a side below 224 pixels. The published list has 44,424.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import Tensor

from lookalike.backbones.build import make_backbone
from lookalike.data.images import open_images
from lookalike.data.prepared import PreparedData
from lookalike.data.resources import image_number, published_clean_ids
from lookalike.data.settings import FILTERS
from lookalike.determinism import pin_arithmetic
from lookalike.devices import best_device
from lookalike.errors import LookalikeError
from lookalike.files import write_json, writing
from lookalike.settings import BackboneSettings

SMALLEST_SIDE = 224
DUPLICATE = 0.9  # cosine of the flattened last feature maps
BATCH = 256
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
        image: in RGB.
        upstream: test as the original does.
    """
    pixels = np.asarray(image)
    first, second = pixels[..., 0] == pixels[..., 1], pixels[..., 1] == pixels[..., 2]
    return bool((first | second if upstream else first & second).all())


def remove_duplicates(data: PreparedData, rows: np.ndarray, weights: str, backbone: str = "resnet50") -> Removed:
    """Images with a training image whose feature map has a cosine above 0.9.

    Memory: a block of query features, one batch of training features, and their products; never all pairs.
    """
    pin_arithmetic(len(os.sched_getaffinity(0)))  # photographs are decoded by as many threads; no TF32 at a threshold
    device = best_device()
    network = make_backbone(BackboneSettings(name=backbone, weights=weights), data.image_shape).to(device).eval()

    def embed(chosen: np.ndarray) -> Iterator[tuple[np.ndarray, Tensor]]:
        images = open_images(data, chosen, device)
        for start in range(0, len(chosen), BATCH):
            part = torch.arange(start, min(start + BATCH, len(chosen)))
            with torch.no_grad():
                maps = network.feature_map(images.take(part.to(device)))
            yield chosen[start : start + BATCH], torch.nn.functional.normalize(maps.flatten(1).float(), dim=1)

    train = data.rows("train")
    size = next(embed(rows[:1]))[1].shape[1] * 4
    block = max(1, BLOCK_BYTES // size)
    removed: Removed = {}
    for start in range(0, len(rows), block):
        chosen = rows[start : start + block]
        queries = torch.empty(len(chosen), size // 4, device=device)  # filled in place: a join takes twice
        filled = 0
        for _, features in embed(chosen):
            queries[filled : filled + len(features)] = features
            filled += len(features)
        cosine, nearest = nearest_exemplars(queries, embed(train))
        for row, value, training in zip(chosen, cosine.tolist(), nearest.tolist(), strict=True):
            if value > DUPLICATE:
                removed[int(row)] = f"cosine {value:.4f} with training image {training}"
    return removed


def nearest_exemplars(queries: Tensor, batches: Iterable[tuple[np.ndarray, Tensor]]) -> tuple[Tensor, Tensor]:
    """Largest cosine of each query with a stream of exemplars, and whose it is.

    Args:
        queries: (Q, D) of length one.
        batches: ids (n,) and features (n, D) of length one.

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


REMOVE: dict[str, Callable[..., Removed]] = {
    "unlabelled": remove_unlabelled,
    "duplicates": remove_duplicates,
    "greyscale": remove_greyscale,
    "small": remove_small,
}


def filter_data(folder: Path, name: str, **options: Any) -> str:
    """Run one filter over the test images and write filters/<name>.parquet: id, source_file, reason.

    Args:
        folder: of the prepared data set.
        name: of `FILTERS`.
        options: of the filter.
    """
    data = PreparedData(folder)
    if name == "unlabelled" and "answers" not in data.columns:
        raise LookalikeError(f"prepared data {folder} has no ReaL labels; only ImageNet's validation images have.")
    removed = REMOVE[name](data, data.rows("test"), **options)
    files = data.column("source_file")
    with writing(folder / "filters" / f"{name}.parquet") as temporary:
        pq.write_table(
            pa.table(
                {
                    "id": pa.array(removed, pa.int64()),
                    "source_file": pa.array([str(files[row]) for row in removed], pa.string()),
                    "reason": pa.array(removed.values(), pa.string()),
                }
            ),
            temporary,
        )
    return f"{len(removed):,} of {len(data.rows('test')):,} removed"


def collect_filters(folder: Path) -> str:
    """Join the filters' results into filters/clean.json and compare them with the published list.

    The file holds how many images each filter removed, the numbers of the clean ones, and, against the published
    44,424, how many agree and which are missing and extra.
    """
    data = PreparedData(folder)
    rows, files = data.rows("test"), data.column("source_file")
    removed = {
        name: pq.ParquetFile(folder / "filters" / f"{name}.parquet").read()["id"].to_pylist() for name in FILTERS
    }
    gone = set().union(*removed.values())
    clean = sorted(image_number(str(files[row])) for row in rows if row not in gone)
    published = set(published_clean_ids())
    missing, extra = sorted(published - set(clean)), sorted(set(clean) - published)
    write_json(
        folder / "filters" / "clean.json",
        {
            "images": len(rows),
            "removed": {name: len(ids) for name, ids in removed.items()},
            "clean": len(clean),
            "published": len(published),
            "missing": missing,
            "extra": extra,
            "ids": clean,
        },
    )
    return f"{len(clean):,} clean, published {len(published):,}: {len(missing):,} missing, {len(extra):,} extra"
