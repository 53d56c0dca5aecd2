"""Prepared data on disk: verified files, the index, training subsets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lookalike.errors import LookalikeError
from lookalike.files import digest, read_json, sha256

COLUMNS = ("id", "split", "label", "environment")
HASHED_BYTES = 256 << 20  # larger files are checked by size only: hashing them would take longer than using them


class PreparedData:
    """A data set in its on-disk form.

    Args:
        folder: holds manifest.json, index.parquet and images.npy.

    Raises:
        LookalikeError: a file is missing or differs from the manifest.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        manifest: dict[str, Any] = read_json(folder / "manifest.json")
        for name, known in manifest["files"].items():
            _check_file(folder / name, known)
        self.name: str = manifest["name"]
        self.class_names: list[str] = manifest["classes"]
        self.image_shape: tuple[int, ...] = tuple(manifest["image_shape"])
        self.mean, self.std = manifest["mean"], manifest["std"]
        self.hash = digest(manifest["files"])
        try:
            self.index: dict[str, np.ndarray] = {
                name: column.to_numpy()
                for name, column in zip(
                    COLUMNS,
                    pq.ParquetFile(folder / "index.parquet").read(list(COLUMNS)).itercolumns(),
                    strict=True,
                )
            }
            self.images: np.ndarray = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise _broken(folder, f"cannot be read ({error})") from None

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    def rows(self, split: str) -> np.ndarray:
        """(n,) index rows of a split."""
        return np.flatnonzero(self.index["split"] == split)

    def subset(self, size: int | str, seed: int) -> np.ndarray:
        """(n,) index rows of a training subset: nested and class-balanced.

        The training rows of each class are shuffled and the classes take turns, so that a smaller
        subset is contained in a larger one of the same seed and class counts differ by at most one while
        a class has images left.

        Args:
            size: number of images, or `all`.
            seed: of the shuffle.

        Raises:
            LookalikeError: there are fewer training images.
        """
        rows = self.rows("train")
        if size == "all":
            return rows
        count = int(size)
        if count > len(rows):
            raise LookalikeError(f"size {count} is larger than the {len(rows)} training images of {self.name}.")
        shuffled = np.random.RandomState(seed % 2**32).permutation(rows)  # a stream numpy keeps for ever
        labels = self.index["label"][shuffled]
        order = np.argsort(labels, kind="stable")
        sizes = np.bincount(labels, minlength=self.n_classes)
        turn = np.empty(len(rows), np.int64)
        turn[order] = np.arange(len(rows)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        return np.sort(shuffled[np.lexsort((np.arange(len(rows)), turn))[:count]])


def _check_file(path: Path, known: dict[str, Any]) -> None:
    if not path.exists():
        raise _broken(path.parent, f"lacks {path.name}")
    size = path.stat().st_size
    if size != known["bytes"]:
        raise _broken(path.parent, f"has {path.name} of {size} bytes, not {known['bytes']}")
    if size <= HASHED_BYTES and sha256(path) != known["sha256"]:
        raise _broken(path.parent, f"has {path.name} with another content than manifest.json says")


def _broken(folder: Path, what: str) -> LookalikeError:
    return LookalikeError(
        f"prepared data {folder} {what}; delete {folder / 'manifest.json'} and run again to prepare it anew."
    )
