"""Bring a data set into its one on-disk form: images.npy, index.parquet, manifest.json."""

from __future__ import annotations

import hashlib
import importlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lookalike.data.raw import RawData
from lookalike.data.registry import DATA_SETS
from lookalike.errors import LookalikeError
from lookalike.files import sha256, write_json, writing


def prepare_data(name: str, folder: Path) -> None:
    """Read, check and write one data set. The manifest is written last: without it nothing counts as prepared.

    Args:
        name: a name of the registry.
        folder: where the three files go.

    Raises:
        LookalikeError: the source does not hold what the registry says.
    """
    row = DATA_SETS[name]
    raw: RawData = importlib.import_module(row.reader).read()
    counts = {split: int((raw.splits == split).sum()) for split in ("train", "test")}
    expected = {"train": row.train, "test": row.test}
    if counts != expected or raw.images.shape[1:] != row.image_shape:
        raise LookalikeError(
            f"data set {name}: the source gives {counts} images of {raw.images.shape[1:]}, "
            f"the registry says {expected} of {row.image_shape}; fetch the source again."
        )
    manifest = folder / "manifest.json"
    manifest.unlink(missing_ok=True)
    with writing(folder / "images.npy") as temporary:
        np.save(temporary, raw.images, allow_pickle=False)
    with writing(folder / "index.parquet") as temporary:
        pq.write_table(_index(raw), temporary)
    train = raw.images[raw.splits == "train"].astype(np.float64) / 255
    write_json(
        manifest,
        {
            "name": name,
            "version": row.version,
            "licence": row.licence,
            "source": row.source,
            "classes": raw.class_names,
            "image_shape": list(row.image_shape),
            "images": counts,
            "mean": train.mean((0, 2, 3)).tolist(),
            "std": train.std((0, 2, 3)).tolist(),
            "files": {
                file: {"bytes": (folder / file).stat().st_size, "sha256": sha256(folder / file)}
                for file in ("images.npy", "index.parquet")
            },
        },
    )


def _index(raw: RawData) -> pa.Table:
    """One row an image, in the order of images.npy."""
    return pa.table(
        {
            "id": np.arange(len(raw.labels)),
            "split": raw.splits.astype(str),
            "label": raw.labels,
            "class_name": [raw.class_names[label] for label in raw.labels],
            "environment": raw.environments,
            "source_file": [raw.source_file] * len(raw.labels),
            "sha256": [hashlib.sha256(image.tobytes()).hexdigest() for image in raw.images],
        }
    )
