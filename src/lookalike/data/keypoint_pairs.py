"""Pairs of images with key points that correspond: PF-PASCAL, SPair-71k and PF-WILLOW as their archives unpack.

Images are squashed to one side and key points with them (docs/algorithms/chm_corr.md, section 7.1).
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lookalike.core.errors import LookalikeError
from lookalike.data.decode import decode
from lookalike.data.matlab import read_mat
from lookalike.data.prepare import IMAGENET_MEAN, IMAGENET_STD

Layout = Literal["pf_pascal", "spair71k", "pf_willow"]
Split = Literal["trn", "val", "test"]
PASCAL_CLASSES: tuple[str, ...] = (
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
)
PASCAL_CLASSES += ("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train")
PASCAL_CLASSES += ("tvmonitor",)
WILLOW_POINTS = 10


@dataclass(frozen=True)
class Pair:
    """Two images and the points that correspond.

    Attributes:
        source, target: Files.
        points, moved: (P, 2) x and y in pixels of the source and of the target.
        extent: Pixels of the target: its object's longer side, by which SPair-71k and PF-WILLOW judge; both of its
            sides' lengths before squashing, (2,). None where the image's side counts (PF-PASCAL).
        flip: Whether both images are mirrored (PF-PASCAL's training list).
    """

    source: Path
    target: Path
    points: np.ndarray
    moved: np.ndarray
    extent: np.ndarray | None = None
    flip: bool = False


def read_pairs(layout: Layout, folder: Path, split: Split) -> list[Pair]:
    """The pairs of a split.

    Args:
        layout: PF-PASCAL: `<split>_pairs.csv`, `JPEGImages/`, `Annotations/<class>/*.mat`; SPair-71k: `Layout/large/`,
            `PairAnnotation/`, `JPEGImages/<class>/`; PF-WILLOW: `test_pairs.csv` and the images it names.
        folder: Folder that holds them, at any depth for PF-PASCAL's and PF-WILLOW's images.
        split: PF-WILLOW has `test` alone.

    Raises:
        LookalikeError: A file is missing or damaged, or the layout has no such split.
    """
    readers = {"pf_pascal": _pf_pascal, "spair71k": _spair, "pf_willow": _pf_willow}
    if layout not in readers:
        raise LookalikeError(f"layout {layout!r} is unknown; there are {', '.join(readers)}.")
    if layout == "pf_willow" and split != "test":
        raise LookalikeError(f"pf_willow has test pairs only, not {split}.")
    pairs = readers[layout](folder, split)
    if not pairs:
        raise LookalikeError(f"{folder} has no {split} pair of {layout}.")
    return pairs


def _rows(folder: Path, name: str) -> list[list[str]]:
    path = _one(folder, name)
    with open(path, newline="", encoding="utf-8") as handle:
        return [row for row in csv.reader(handle) if row][1:]


def _one(folder: Path, name: str) -> Path:
    """The file of a name, at any depth."""
    paths = sorted(folder.rglob(name))
    if not paths:
        raise LookalikeError(f"{folder} holds no {name}; give the folder that the archive unpacks to.")
    return paths[0]


def _pf_pascal(folder: Path, split: Split) -> list[Pair]:
    """Columns: source, target, class from 1, and in the training list whether to flip; points not in both are left."""
    images = _one(folder, "JPEGImages")
    annotations = _one(folder, "Annotations")
    points: dict[tuple[str, str], np.ndarray] = {}

    def points_of(name: str, file: str) -> np.ndarray:
        key = (name, file)
        if key not in points:
            stored = read_mat(annotations / name / f"{Path(file).stem}.mat", "kps")["kps"]
            points[key] = np.asarray(stored, np.float64)
        return points[key]

    pairs = []
    for row in _rows(folder, f"{split}_pairs.csv"):
        source, target, number = Path(row[0]).name, Path(row[1]).name, int(float(row[2]))
        name = PASCAL_CLASSES[number - 1]
        of_source, of_target = points_of(name, source), points_of(name, target)
        both = ~(np.isnan(of_source) | np.isnan(of_target)).any(1)
        flip = split == "trn" and len(row) > 3 and bool(int(float(row[3])))
        pairs.append(Pair(images / source, images / target, of_source[both], of_target[both], None, flip))
    return pairs


def _spair(folder: Path, split: Split) -> list[Pair]:
    """One line a pair in Layout/large, `number-source-target:class`; a JSON file of that name for each."""
    lines = _one(folder, "large") / f"{split}.txt"
    if not lines.exists():
        raise LookalikeError(f"{lines} is missing; give the folder that SPair-71k's archive unpacks to.")
    annotations, images = _one(folder, "PairAnnotation") / split, _one(folder, "JPEGImages")
    pairs = []
    for line in lines.read_text().split():
        name = line.partition(":")[2]
        path = annotations / f"{line}.json"
        if not path.exists():
            raise LookalikeError(f"{path} is missing; unpack the archive again.")
        annotation: dict[str, Any] = json.loads(path.read_text())
        left, top, right, bottom = (float(v) for v in annotation["trg_bndbox"])
        pairs.append(
            Pair(
                images / name / annotation["src_imname"],
                images / name / annotation["trg_imname"],
                np.array(annotation["src_kps"], np.float64),
                np.array(annotation["trg_kps"], np.float64),
                np.array([right - left, bottom - top]),
            )
        )
    return pairs


def _pf_willow(folder: Path, _: Split) -> list[Pair]:
    """Columns: both files, then ten x and ten y of the source and ten x and ten y of the target."""
    pairs = []
    for row in _rows(folder, "test_pairs.csv"):
        numbers = np.array([float(value) for value in row[2 : 2 + 4 * WILLOW_POINTS]]).reshape(2, 2, WILLOW_POINTS)
        of_source, of_target = numbers[0].T, numbers[1].T
        files = [_image(folder, name) for name in row[:2]]
        pairs.append(Pair(files[0], files[1], of_source, of_target, of_target.max(0) - of_target.min(0)))
    return pairs


def _image(folder: Path, name: str) -> Path:
    """An image whose path the list begins with a folder of its own."""
    parts = Path(name).parts
    for start in range(len(parts)):
        path = folder.joinpath(*parts[start:])
        if path.exists():
            return path
    raise LookalikeError(f"{folder} lacks the image {name}; unpack the archive again.")


@dataclass(frozen=True)
class PairBatch:
    """Squashed pairs.

    Attributes:
        source, target: (B, 3, S, S) normalised.
        points, moved: (B, P, 2) x and y between -1 and 1; 0 where a pair has fewer points.
        valid: (B, P) which entries are points.
        tolerance: (B,) length between -1 and 1 that counts as one: the image's side, or the target's extent.
    """

    source: Tensor
    target: Tensor
    points: Tensor
    moved: Tensor
    valid: Tensor
    tolerance: Tensor


def load_batch(pairs: Sequence[Pair], side: int, device: torch.device) -> PairBatch:
    """Decode and squash pairs; half the side is one unit, as everywhere in matching.

    Args:
        pairs: B of them.
        side: S, pixels.
        device: Where the tensors go.
    """
    files = [file for pair in pairs for file in (pair.source, pair.target)]
    with ThreadPoolExecutor() as pool:
        decoded = list(pool.map(lambda file: _squashed(file, side), files))
    pixels = torch.from_numpy(np.stack([array for array, _ in decoded])).to(device).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(values, device=device).view(-1, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    images = ((pixels - mean) / std).unflatten(0, (-1, 2))
    most = max(len(pair.points) for pair in pairs)
    at = torch.zeros(2, len(pairs), most, 2)
    valid, tolerance = torch.zeros(len(pairs), most, dtype=torch.bool), torch.full((len(pairs),), 2.0)
    for number, pair in enumerate(pairs):
        valid[number, : len(pair.points)] = True
        for which, points in enumerate((pair.points, pair.moved)):
            size = np.array(decoded[2 * number + which][1])
            at[which, number, : len(points)] = torch.from_numpy(points / size * 2 - 1).float()
        if pair.extent is not None:
            tolerance[number] = 2 * float((pair.extent / np.array(decoded[2 * number + 1][1])).max())
    flips = torch.tensor([pair.flip for pair in pairs])
    at[:, flips, :, 0] *= -1
    images = torch.where(flips.to(device)[:, None, None, None, None], images.flip(-1), images)
    moved = [part.to(device) for part in (at[0], at[1], valid, tolerance)]
    return PairBatch(images[:, 0], images[:, 1], *moved)


def _squashed(file: Path, side: int) -> tuple[np.ndarray, tuple[int, int]]:
    """(S, S, 3) uint8, and width and height before."""
    try:
        image, _ = decode(file.read_bytes(), str(file))
    except FileNotFoundError:
        raise LookalikeError(f"image {file} is missing; unpack the archive again.") from None
    return np.asarray(image.resize((side, side), Image.Resampling.BILINEAR)), image.size
