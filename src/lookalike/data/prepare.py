"""Bring a data set into its one on-disk form: images, index.parquet, manifest.json.

Small images become one array, images.npy. Photographs stay encoded, packed into images-NNNNN.bin by the thousand: a
million small files would be slow on every cluster's file system. Shards are made by several processes, and those that
are done stay done when the stage is killed.
"""

from __future__ import annotations

import hashlib
import importlib
import logging
import multiprocessing
import os
import shutil
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from lookalike.core.errors import LookalikeError
from lookalike.core.files import digest, read_json, sha256, write_json, writing
from lookalike.core.locks import locked
from lookalike.data.decode import decode
from lookalike.data.raw import RawData
from lookalike.data.reader_input import ReaderInput, downloads
from lookalike.data.registry import DATA_SETS

if TYPE_CHECKING:  # a new key of a study's settings must not prepare everything anew
    from lookalike.data.settings import DataSettings

SHARD = 2048  # images
CACHED_SIDE = 256  # pixels
IMAGENET_MEAN, IMAGENET_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]  # of every pretrained network we use
PACKED = ("height", "width", "offset", "bytes", "scale", "sha256")  # of each photograph; scale: of the cached image
log = logging.getLogger(__name__)
Columns = dict[str, Any]


def prepare_data(settings: DataSettings, folder: Path) -> str:
    """Read, check and write one data set. The manifest is written last: without it nothing counts as prepared.

    Args:
        settings: The set and its options.
        folder: Where the files go.

    Returns:
        What there is now, in a few words.

    Raises:
        LookalikeError: The source does not hold what the registry says, or an image cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder.with_name(f".{folder.name}.lock")):  # two studies may ask at once
        return _prepare(settings, folder)


def _prepare(settings: DataSettings, folder: Path) -> str:
    row = DATA_SETS[settings.source]
    inputs = ReaderInput(
        settings.source, downloads() / settings.source, folder / ".unpacked", settings.model_dump(mode="json")
    )
    raw: RawData = importlib.import_module(row.reader).read(inputs)
    _check(raw, settings)
    repeated = write_prepared(raw, settings, folder)
    inputs.discard()
    shutil.rmtree(folder / ".shards", ignore_errors=True)
    summary = f"{len(raw.labels):,} images, {len(raw.class_names)} classes"
    if repeated:
        summary += f"; test images that are byte for byte training images too: {repeated:,}"
    if left_out := raw.facts.get("left_out"):
        summary += f"; left out, since they are no images or hidden: {len(left_out):,}, {left_out[0]} for one"
    return summary


def write_prepared(raw: RawData, settings: DataSettings, folder: Path) -> int:
    """Write what was read in its on-disk form, the manifest last.

    Args:
        raw: Images and labels.
        settings: Settings of the data set.
        folder: Where the files go.

    Returns:
        How many test images are byte for byte training images too.
    """
    row = DATA_SETS[settings.source]
    manifest = folder / "manifest.json"
    manifest.unlink(missing_ok=True)
    for old in folder.glob("images*"):
        if isinstance(raw.images, np.ndarray) or old.name == "images.npy":
            old.unlink()
    if isinstance(raw.images, np.ndarray):
        files, columns, facts = _write_array(raw, raw.images, folder)
    else:
        cache = bool(getattr(settings, "cache", False))
        files, columns, facts = _write_shards(raw, raw.images, folder, cache, row.version)
    with writing(folder / "index.parquet") as temporary:
        pq.write_table(_index(raw, columns), temporary)
    repeated = _repeated(columns["sha256"], raw.splits)
    if repeated:
        log.warning("%s: %d test images are byte for byte training images too", settings.source, repeated)
    write_json(
        manifest,
        {
            "name": settings.source,
            "version": row.version,
            "licence": row.licence,
            "source": row.origin,
            "options": settings.prepare_options(),
            "classes": raw.class_names,
            "images": dict(Counter(raw.splits.tolist())),
            "test_images_in_training": repeated,
            "point_names": list(raw.point_names),
            **facts,
            **raw.facts,
            "files": {
                file: {"bytes": (folder / file).stat().st_size, "sha256": sha256(folder / file)}
                for file in [*files, "index.parquet"]
            },
        },
    )
    return repeated


def _check(raw: RawData, settings: DataSettings) -> None:
    """Raise LookalikeError unless images by split are what they must be."""
    counts = dict(Counter(raw.splits.tolist()))
    expected = settings.source_counts()
    row = DATA_SETS[settings.source]
    if expected and counts != expected:
        raise LookalikeError(
            f"data set {settings.source}: the source gives {counts} images, the registry says {expected}; "
            f"run `lookalike data verify {settings.source}`."
        )
    if row.form == "array" and settings.source != "critters":
        assert isinstance(raw.images, np.ndarray)
        if raw.images.shape[1:] != row.image_shape:
            raise LookalikeError(
                f"data set {settings.source}: the source gives images of {raw.images.shape[1:]}, the registry says "
                f"{row.image_shape}; run `lookalike data verify {settings.source}`."
            )
    if not len(raw.labels) == len(raw.images) == len(raw.splits) == len(raw.sources):
        raise LookalikeError(f"data set {settings.source}: images, labels and splits differ in number.")
    if raw.labels.min() < 0 or raw.labels.max() >= len(raw.class_names):
        raise LookalikeError(
            f"data set {settings.source}: a label is {raw.labels.max()}, but there are {len(raw.class_names)} classes."
        )


def _repeated(hashes: list[str], splits: np.ndarray) -> int:
    """Test images whose bytes are those of a training image."""
    training = {value for value, split in zip(hashes, splits, strict=True) if split == "train"}
    return sum(value in training for value, split in zip(hashes, splits, strict=True) if split == "test")


def _write_array(raw: RawData, images: np.ndarray, folder: Path) -> tuple[list[str], Columns, dict[str, Any]]:
    with writing(folder / "images.npy") as temporary:
        np.save(temporary, images, allow_pickle=False)
    train = images[raw.splits == "train"]
    levels = np.arange(256) / 255
    mean, std = [], []
    for channel in range(images.shape[1]):  # exact, in a byte's histogram instead of a copy in double precision
        share = np.bincount(train[:, channel].ravel(), minlength=256) / train[:, channel].size
        mean.append(float(share @ levels))
        std.append(float(np.sqrt(share @ (levels - mean[-1]) ** 2)))
    columns = {"sha256": [hashlib.sha256(image.tobytes()).hexdigest() for image in images]}
    return ["images.npy"], columns, {"image_shape": list(images.shape[1:]), "mean": mean, "std": std}


def _write_shards(
    raw: RawData, images: list[Path], folder: Path, cache: bool, version: str
) -> tuple[list[str], Columns, dict[str, Any]]:
    """Pack photographs; shards of an earlier attempt on the same files are kept."""
    records = folder / ".shards"
    stats = [path.stat() for path in images]
    key = digest([raw.sources, [(stat.st_size, stat.st_mtime_ns) for stat in stats], cache, raw.trim, SHARD, version])
    if not (records / "key").exists() or (records / "key").read_text() != key:
        shutil.rmtree(records, ignore_errors=True)
        for old in folder.glob("images-*.bin"):
            old.unlink()
        records.mkdir(parents=True)
        (records / "key").write_text(key)
    shards = [list(map(str, images[start : start + SHARD])) for start in range(0, len(images), SHARD)]
    names = [f"images-{number:05d}.bin" for number in range(len(shards))]
    missing = [number for number in range(len(shards)) if not (records / f"{number}.json").exists()]
    trim = raw.trim if cache else 0
    jobs = [(shards[number], folder / names[number], records / f"{number}.json", cache, trim) for number in missing]
    workers = min(len(jobs), len(os.sched_getaffinity(0)))
    if workers > 1:
        with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
            futures = [pool.submit(_pack, *job) for job in jobs]
            try:
                for done, future in enumerate(as_completed(futures), 1):
                    future.result()
                    log.info("packed %d of %d shards", len(shards) - len(jobs) + done, len(shards))
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise
    else:
        for job in jobs:
            _pack(*job)
    parts = [read_json(records / f"{number}.json") for number in range(len(shards))]
    columns: Columns = {name: [value for part in parts for value in part[name]] for name in PACKED}
    columns["shard"] = np.repeat(np.arange(len(shards)), [len(shard) for shard in shards])
    modes: Counter[str] = sum((Counter(part["modes"]) for part in parts), Counter())
    facts = {"modes": dict(modes), "cache": cache, "trim": raw.trim - trim, "mean": IMAGENET_MEAN, "std": IMAGENET_STD}
    return names, columns, facts


def _pack(paths: list[str], target: Path, record: Path, cache: bool, trim: int) -> None:
    """One shard: every image is decoded, so that a broken one is found now and not in the middle of a training."""
    columns: dict[str, list[Any]] = {name: [] for name in PACKED}
    modes: Counter[str] = Counter()
    offset = 0
    with writing(target) as temporary, open(temporary, "wb") as out:
        for path in paths:
            content = Path(path).read_bytes()
            image, mode = decode(content, path)
            modes[mode] += 1
            columns["sha256"].append(hashlib.sha256(content).hexdigest())
            whole = image.width
            if cache:
                image = _shorter_side(image.crop((trim, trim, image.width - trim, image.height - trim)), CACHED_SIDE)
                content = image.tobytes()
            for name, value in (
                ("height", image.height),
                ("width", image.width),
                ("offset", offset),
                ("bytes", len(content)),
                ("scale", image.width / (whole - 2 * trim)),
            ):
                columns[name].append(value)
            out.write(content)
            offset += len(content)
    write_json(record, {**columns, "modes": modes})


def _shorter_side(image: Image.Image, side: int) -> Image.Image:
    """The image with its shorter side so long; smaller images stay as they are."""
    scale = side / min(image.size)
    if scale >= 1:
        return image
    return image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR)


def _index(raw: RawData, columns: Columns) -> pa.Table:
    """One row an image, in the order of the images."""
    count = len(raw.labels)
    names = pa.array(raw.class_names)
    columns_of_index: Columns = {
        "id": np.arange(count),
        "split": pa.array(raw.splits.astype(str)).dictionary_encode(),
        "label": raw.labels,
        "class_name": pa.DictionaryArray.from_arrays(pa.array(raw.labels.astype(np.int32)), names),
        "environment": np.zeros(count, np.int64) if raw.environments is None else raw.environments,
        "source_file": raw.sources,
        **columns,
    }
    scale = np.asarray(columns.get("scale", np.ones(count)), np.float32)[:, None]  # to the pixels that are kept
    if raw.boxes is not None:
        boxes = raw.boxes * scale
        columns_of_index["box"] = pa.FixedSizeListArray.from_arrays(pa.array(boxes.ravel()), 4)
    if raw.points is not None:
        points = raw.points * np.stack([scale, scale, np.ones_like(scale)], axis=2)
        columns_of_index["points"] = pa.FixedSizeListArray.from_arrays(pa.array(points.ravel()), 3 * points.shape[1])
    if raw.answers is not None:
        columns_of_index["answers"] = pa.array(raw.answers, pa.list_(pa.int16()))
    return pa.table(columns_of_index)
