"""Filter ImageNet's test images: say which ones each filter removes and why, and join what the filters leave."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from lookalike.backbones.build import make_backbone
from lookalike.contracts.settings import BackboneSettings
from lookalike.core.determinism import pin_arithmetic
from lookalike.core.devices import best_device
from lookalike.core.errors import LookalikeError
from lookalike.core.files import write_json, writing
from lookalike.data.filters import Removed, remove_duplicates, remove_greyscale, remove_small, remove_unlabelled
from lookalike.data.images import open_images
from lookalike.data.prepared import PreparedData
from lookalike.data.resources import image_number, published_clean_ids
from lookalike.data.settings import FILTERS

BATCH = 256
SIMPLE: dict[str, Callable[[PreparedData, np.ndarray], Removed]] = {
    "unlabelled": remove_unlabelled,
    "greyscale": remove_greyscale,
    "small": remove_small,
}


def filter_data(folder: Path, name: str, weights: str = "", backbone: str = "resnet50") -> str:
    """Run one filter over the test images and write filters/<name>.parquet: id, source_file, reason.

    Args:
        folder: Folder of the prepared data set.
        name: One of `FILTERS`.
        weights: Path of the network's weights, for filter `duplicates`.
        backbone: Name of the network, for filter `duplicates`.
    """
    data = PreparedData(folder)
    if name == "unlabelled" and "answers" not in data.columns:
        raise LookalikeError(f"prepared data {folder} has no ReaL labels; only ImageNet's validation images have.")
    rows = data.rows("test")
    if name == "duplicates":
        removed = remove_duplicates(data, rows, _feature_maps(data, BackboneSettings(name=backbone, weights=weights)))
    else:
        removed = SIMPLE[name](data, rows)
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
    return f"{len(removed):,} of {len(rows):,} removed"


def _feature_maps(
    data: PreparedData, backbone: BackboneSettings
) -> Callable[[np.ndarray], Iterator[tuple[np.ndarray, Tensor]]]:
    """What gives flattened feature maps of unit length, batch by batch."""
    pin_arithmetic(len(os.sched_getaffinity(0)))  # photographs are decoded by as many threads; no TF32 at a threshold
    device = best_device()
    network = make_backbone(backbone, data.image_shape).to(device).eval()

    def features(chosen: np.ndarray) -> Iterator[tuple[np.ndarray, Tensor]]:
        images = open_images(data, chosen, device)
        for start in range(0, len(chosen), BATCH):
            part = torch.arange(start, min(start + BATCH, len(chosen)))
            with torch.no_grad():
                maps = network.feature_map(images.load(part.to(device)))
            yield chosen[start : start + BATCH], torch.nn.functional.normalize(maps.flatten(1).float(), dim=1)

    return features


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
