"""Prepared data on disk: verified files, the index, training subsets, evaluation sets."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from lookalike.backbones.registry import TAKE_LEVELS
from lookalike.data.decode import decode
from lookalike.data.manifest import broken, check_files
from lookalike.data.resources import image_number, published_clean_ids
from lookalike.data.settings import ArraySettings, DataSettings, entry_settings, settings_class
from lookalike.data.subsets import memory_wrap_draw, take_turns
from lookalike.errors import LookalikeError
from lookalike.files import digest, read_json
from lookalike.seeds import derive_seed

if TYPE_CHECKING:
    from lookalike.plan import RunSpec

COLUMNS = ("id", "label", "environment")
SHOWN_SIDE = 128  # pixels of a photograph in a figure


def open_data(run: RunSpec) -> PreparedData:
    """The data set of a run, read as its study says; for networks that take levels its images stay 0 to 255."""
    found = PreparedData(run.data_folder, entry_settings(run.plan.datasets[run.dataset]))
    if run.owner.settings["backbone"]["name"] in TAKE_LEVELS:
        found.mean, found.std = ([value] * found.image_shape[0] for value in (0.0, 1 / 255))
    return found


def open_queries(run: RunSpec, data: PreparedData, name: str) -> PreparedData:
    """The data set that an evaluation set's images come from: the run's own, or that of another entry.

    Images of another entry are normalised as those of the run. Where it has `queries_for`, their labels are the run's
    classes, matched by WordNet id where both sets have them, else by name; where it has `outliers_for`, they are -1.

    Args:
        run: whose model is asked.
        data: the run's own data set.
        name: of the evaluation set.

    Raises:
        LookalikeError: the other set has images of another size, or a class that the run's data set lacks.
    """
    outliers = name in run.plan.outlier_sets(run.dataset, run.size)
    if not outliers and name not in run.plan.query_sets(run.dataset):
        return data
    found = PreparedData(run.plan.data_folder(name), entry_settings(run.plan.datasets[name]))
    found.mean, found.std = data.mean, data.std
    if outliers:
        found.index["label"] = np.full_like(found.index["label"], -1)
        found.image_shape = data.image_shape
        return found
    if found.image_shape != data.image_shape:
        sizes = [" x ".join(map(str, shape)) for shape in (found.image_shape, data.image_shape)]
        raise LookalikeError(
            f"images of {name} are {sizes[0]}, those of {run.dataset} {sizes[1]}; give both entries the same size."
        )
    both = all("wnids" in one.manifest for one in (found, data))
    known, own = (one.manifest["wnids"] if both else one.manifest["classes"] for one in (data, found))
    unknown = [label for label in own if label not in known]
    if unknown:
        raise LookalikeError(
            f"class {unknown[0]} of {name} is none of {run.dataset}'s; take {name} out of datasets, or its queries_for."
        )
    number = {label: index for index, label in enumerate(known)}
    found.index["label"] = np.array([number[label] for label in own])[found.index["label"]]
    found.class_names = data.class_names
    return found


class PreparedData:
    """A data set in its on-disk form.

    Args:
        folder: holds manifest.json, index.parquet and the images.
        settings: how the study reads it; the defaults without.

    Raises:
        LookalikeError: a file is missing or differs from the manifest.
    """

    def __init__(self, folder: Path, settings: DataSettings | None = None) -> None:
        self.folder = folder
        self.manifest: dict[str, Any] = read_json(folder / "manifest.json")
        check_files(folder, self.manifest["files"])
        self.name: str = self.manifest["name"]
        if settings is None:
            options = {"source": self.name, **self.manifest["options"]}
            settings = settings_class(self.name).model_validate(options)
        self.settings = settings
        self.class_names: list[str] = self.manifest["classes"]
        self.encoded = "images.npy" not in self.manifest["files"]
        side = getattr(settings, "size", 0)
        self.stored_shape: tuple[int, ...] = (3, side, side) if self.encoded else tuple(self.manifest["image_shape"])
        self.image_shape = self.stored_shape  # as models see them
        if isinstance(settings, ArraySettings):
            channels, height, width = self.stored_shape
            self.image_shape = (settings.channels or channels, settings.size or height, settings.size or width)
        self.mean, self.std = self._normalization()
        self.hash = digest([self.manifest["files"], settings.reading()])
        self.index: dict[str, np.ndarray] = {name: self.column(name) for name in COLUMNS}
        splits = self._read(["split"]).column(0).combine_chunks().dictionary_encode()
        self._splits: list[str] = splits.dictionary.to_pylist()
        self._split_of: np.ndarray = splits.indices.to_numpy()

    def _normalization(self) -> tuple[list[float], list[float]]:
        given = self.settings.normalization
        if given is None:
            mean, std = self.manifest["mean"], self.manifest["std"]
            if self.image_shape[0] != len(mean):  # grey seen as coloured, or the other way round
                mean, std = ([sum(values) / len(values)] * self.image_shape[0] for values in (mean, std))
            return mean, std
        if len(given.mean) != self.image_shape[0]:
            raise LookalikeError(
                f"normalization of {self.name} has {len(given.mean)} channels, its images have {self.image_shape[0]}; "
                "give one number a channel."
            )
        return list(given.mean), list(given.std)

    @cached_property
    def images(self) -> np.ndarray:
        """(N, C, H, W) uint8, memory-mapped; small images only."""
        try:
            mapped: np.ndarray = np.load(self.folder / "images.npy", mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise broken(self.folder, f"cannot be read ({error})") from None
        return mapped

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    def __len__(self) -> int:
        return len(self.index["label"])

    def column(self, name: str) -> np.ndarray:
        """A column of the index; lists of numbers as (N, K)."""
        found = self._read([name]).column(0).combine_chunks()
        if pa.types.is_fixed_size_list(found.type):
            return found.flatten().to_numpy().reshape(len(found), -1)
        values: np.ndarray = found.to_numpy(zero_copy_only=False)
        return values

    @cached_property
    def boxes(self) -> np.ndarray:
        """(N, 4) x, y, width, height of the bounding boxes, in pixels."""
        return self.column("box")

    def _read(self, names: list[str]) -> pa.Table:
        try:
            return pq.ParquetFile(self.folder / "index.parquet").read(names)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise broken(self.folder, f"cannot be read ({error})") from None

    @cached_property
    def columns(self) -> list[str]:
        """Names of the index's columns."""
        names: list[str] = pq.read_schema(self.folder / "index.parquet").names
        return names

    def rows(self, split: str) -> np.ndarray:
        """(n,) index rows of a split as the study's settings define it."""
        if getattr(self.settings, "split", "official") == "swapped":
            split = {"train": "test", "test": "train"}.get(split, split)
        both = self.settings.train_on == "trainval"
        if split == "validation" and both:
            return np.empty(0, np.int64)  # it is trained on
        wanted = ["train", "validation"] if split == "train" and both else [split]
        if split == "test" and getattr(self.settings, "queries", "all") != "all":
            return self._clean_rows
        return np.flatnonzero(self.is_split(*wanted))

    def is_split(self, *names: str) -> np.ndarray:
        """(N,) whether each image belongs to one of these parts of the source."""
        found: np.ndarray = np.isin(
            self._split_of, [self._splits.index(name) for name in names if name in self._splits]
        )
        return found

    @cached_property
    def _clean_rows(self) -> np.ndarray:
        """Rows of the clean ImageNet test images: the published list, or what our own filters left."""
        if getattr(self.settings, "queries", "all") == "published_clean":
            wanted = set(published_clean_ids())
        else:
            wanted = set(read_json(self.folder / "filters" / "clean.json")["ids"])
        files, test = self.column("source_file"), np.flatnonzero(self.is_split("test"))
        found: np.ndarray = test[[image_number(str(files[row])) in wanted for row in test]]
        return found

    def training_rows(self, run: RunSpec) -> np.ndarray:
        """(n,) index rows that a run trains on: its subset of what is not held out."""
        rows, _ = self._drawn(run)
        if run.size == "all":
            return np.sort(rows)
        if int(run.size) > len(rows):
            raise LookalikeError(f"size {run.size} is larger than the {len(rows)} training images of {run.dataset}.")
        return np.sort(rows[: int(run.size)])

    def evaluation_rows(self, run: RunSpec, split: str) -> np.ndarray:
        """(n,) index rows of an evaluation set; `validation` is what the run held out, or the source's own part.

        Raises:
            LookalikeError: the data set has no such images.
        """
        if self.settings.held_out and split in ("train", "validation"):
            return np.sort(self._drawn(run)[0 if split == "train" else 1])
        rows = self.rows(split)
        if not len(rows):
            raise LookalikeError(
                f"data set {run.dataset} has no {split} images; take {split} out of evaluation_sets"
                + ("." if split != "validation" else f", or write datasets: {{{run.dataset}: {{held_out: 500}}}}.")
            )
        return rows

    def _drawn(self, run: RunSpec) -> tuple[np.ndarray, np.ndarray]:
        """Training rows in the order of which a subset is the beginning, and rows held out."""
        rows, held_out = self.rows("train"), self.settings.held_out
        if not len(rows):
            raise LookalikeError(
                f"data set {run.dataset} has no training images; add them, or let it give queries to the models of "
                f"another: datasets: {{{run.dataset}: {{queries_for: ...}}}}."
            )
        if held_out >= len(rows):
            raise LookalikeError(
                f"held_out {held_out} leaves none of the {len(rows)} training images of {run.dataset}."
            )
        if self.settings.draw == "memory_wrap":
            order, validation = memory_wrap_draw(len(rows), held_out, run.seed)
            return rows[order], rows[validation]
        validation = take_turns(self.index["label"][rows], derive_seed(run.subset_seed, "held out"))[:held_out]
        kept = np.delete(rows, validation)
        return kept[take_turns(self.index["label"][kept], run.subset_seed)], rows[validation]

    @cached_property
    def _places(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Shard, offset, bytes, height, width of every photograph."""
        return tuple(self.column(name) for name in ("shard", "offset", "bytes", "height", "width"))  # type: ignore[return-value]

    @cached_property
    def _shards(self) -> list[np.ndarray]:
        names = sorted(name for name in self.manifest["files"] if name.endswith(".bin"))
        return [np.memmap(self.folder / name, np.uint8, "r") for name in names]

    def photograph(self, row: int) -> Image.Image:
        """A photograph in RGB, its border trimmed where the source has one. Safe to call from several threads."""
        shard, offset, size, height, width = (int(column[row]) for column in self._places)
        content = self._shards[shard][offset : offset + size]
        if self.manifest["cache"]:
            image = Image.fromarray(content.reshape(height, width, 3))
        else:
            image, _ = decode(content.tobytes(), f"{row} of {self.folder}")
        trim = self.manifest["trim"]
        return image.crop((trim, trim, width - trim, height - trim)) if trim else image

    def picture(self, row: int) -> np.ndarray:
        """(H, W, C) uint8: the image for a figure."""
        if not self.encoded:
            return np.moveaxis(np.asarray(self.images[row]), 0, -1)
        image = self.photograph(row)
        image.thumbnail((SHOWN_SIDE, SHOWN_SIDE), Image.Resampling.BILINEAR)
        return np.asarray(image)
