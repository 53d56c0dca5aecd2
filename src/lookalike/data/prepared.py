"""Prepared data on disk: verified files, the index, training subsets, evaluation sets."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from lookalike.core.errors import LookalikeError
from lookalike.core.files import digest, read_json
from lookalike.core.seeds import derive_seed
from lookalike.data.decode import decode
from lookalike.data.manifest import broken, check_files
from lookalike.data.resources import image_number, published_clean_ids
from lookalike.data.settings import ArraySettings, DataSettings, settings_class
from lookalike.data.subsets import take_turns, uniform_draw

COLUMNS = ("id", "label", "environment")
SHOWN_SIDE = 128  # pixels of a photograph in a figure


def open_data(folder: Path, settings: DataSettings, as_levels: bool = False) -> PreparedData:
    """A prepared data set, read as a study says.

    Args:
        folder: Folder of the prepared data set.
        settings: The data set's entry of the study.
        as_levels: Whether images stay 0 to 255, for networks that take levels.

    Raises:
        LookalikeError: A file is missing or differs from the manifest.
    """
    data = PreparedData(folder, settings)
    if as_levels:
        data.mean, data.std = ([value] * data.image_shape[0] for value in (0.0, 1 / 255))
    return data


def open_ood(data: PreparedData, folder: Path, settings: DataSettings) -> PreparedData:
    """Images of another entry that are out-of-distribution to models of a data set: no labels, its size and colours.

    Args:
        data: The data set of the models.
        folder: Folder of the other prepared data set.
        settings: The other entry of the study.
    """
    other = PreparedData(folder, settings)
    other.mean, other.std = data.mean, data.std
    other.index["label"] = np.full_like(other.index["label"], -1)
    other.image_shape = data.image_shape
    return other


def open_evaluated(data: PreparedData, name: str, folder: Path, settings: DataSettings, dataset: str) -> PreparedData:
    """Images of another entry that models of a data set classify, normalised as its own.

    Their labels are the data set's classes, matched by WordNet id where both sets have them, else by name.

    Args:
        data: The data set of the models.
        name: Name of the other entry.
        folder: Folder of the other prepared data set.
        settings: The other entry of the study.
        dataset: Name of the models' entry.

    Raises:
        LookalikeError: The other set has images of another size, or a class that the models do not know.
    """
    other = PreparedData(folder, settings)
    other.mean, other.std = data.mean, data.std
    if other.image_shape != data.image_shape:
        sizes = [" x ".join(map(str, shape)) for shape in (other.image_shape, data.image_shape)]
        raise LookalikeError(
            f"images of {name} are {sizes[0]}, those of {dataset} {sizes[1]}; give both entries the same size."
        )
    both = all("wnids" in prepared.manifest for prepared in (other, data))
    classes, theirs = (
        prepared.manifest["wnids"] if both else prepared.manifest["classes"] for prepared in (data, other)
    )
    unknown = [label for label in theirs if label not in classes]
    if unknown:
        raise LookalikeError(
            f"class {unknown[0]} of {name} is none of {dataset}'s; take {name} out of datasets, or its evaluated_with."
        )
    number = {label: index for index, label in enumerate(classes)}
    other.index["label"] = np.array([number[label] for label in theirs])[other.index["label"]]
    other.class_names = data.class_names
    return other


@dataclass(frozen=True)
class Draw:
    """Which images of a data set a run trains on.

    Attributes:
        dataset: Name of the entry, for messages.
        size: Number of training images; None for all.
        seed: Seed of the draw; runs of one number share it.
        number: Number of the run, which the uniform draw takes as its seed.
    """

    dataset: str
    size: int | None
    seed: int
    number: int


class PreparedData:
    """A data set in its on-disk form.

    Args:
        folder: Holds manifest.json, index.parquet and the images.
        settings: How the study reads it; the defaults without.

    Raises:
        LookalikeError: A file is missing or differs from the manifest.
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
        chunk = self._read([name]).column(0).combine_chunks()
        if pa.types.is_fixed_size_list(chunk.type):
            return chunk.flatten().to_numpy().reshape(len(chunk), -1)
        values: np.ndarray = chunk.to_numpy(zero_copy_only=False)
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
        parts = ["train", "validation"] if split == "train" and both else [split]
        if split == "test" and getattr(self.settings, "queries", "all") != "all":
            return self._clean_rows
        return np.flatnonzero(self.is_split(*parts))

    def is_split(self, *names: str) -> np.ndarray:
        """(N,) whether each image belongs to one of these parts of the source."""
        belongs: np.ndarray = np.isin(
            self._split_of, [self._splits.index(name) for name in names if name in self._splits]
        )
        return belongs

    @cached_property
    def _clean_rows(self) -> np.ndarray:
        """Rows of the clean ImageNet test images: the published list, or what our own filters left."""
        if getattr(self.settings, "queries", "all") == "published_clean":
            clean_numbers = set(published_clean_ids())
        else:
            clean_numbers = set(read_json(self.folder / "filters" / "clean.json")["ids"])
        files, test = self.column("source_file"), np.flatnonzero(self.is_split("test"))
        clean: np.ndarray = test[[image_number(str(files[row])) in clean_numbers for row in test]]
        return clean

    def training_rows(self, draw: Draw) -> np.ndarray:
        """(n,) index rows that a run trains on: its subset of what is not kept back for validation."""
        rows, _ = self._drawn(draw)
        if draw.size is None:
            return np.sort(rows)
        if draw.size > len(rows):
            raise LookalikeError(f"size {draw.size} is larger than the {len(rows)} training images of {draw.dataset}.")
        return np.sort(rows[: draw.size])

    def evaluation_rows(self, draw: Draw, split: str) -> np.ndarray:
        """(n,) index rows of a split; `validation` is what the draw kept back, or the source's own part.

        Raises:
            LookalikeError: The data set has no such images.
        """
        if self.settings.validation_size and split in ("train", "validation"):
            return np.sort(self._drawn(draw)[0 if split == "train" else 1])
        rows = self.rows(split)
        if not len(rows):
            raise LookalikeError(
                f"data set {draw.dataset} has no {split} images; take {split} out of evaluation_sets"
                + (
                    "."
                    if split != "validation"
                    else f", or write datasets: {{{draw.dataset}: {{validation_size: 500}}}}."
                )
            )
        return rows

    def _drawn(self, draw: Draw) -> tuple[np.ndarray, np.ndarray]:
        """Training rows in the order of which a subset is the beginning, and rows kept back."""
        rows, kept_back = self.rows("train"), self.settings.validation_size
        if not len(rows):
            raise LookalikeError(
                f"data set {draw.dataset} has no training images; add them, or let the models of another classify it: "
                f"datasets: {{{draw.dataset}: {{evaluated_with: ...}}}}."
            )
        if kept_back >= len(rows):
            raise LookalikeError(
                f"validation_size {kept_back} leaves none of the {len(rows)} training images of {draw.dataset}."
            )
        if self.settings.draw == "uniform":
            order, validation = uniform_draw(len(rows), kept_back, draw.number)
            return rows[order], rows[validation]
        validation = take_turns(self.index["label"][rows], derive_seed(draw.seed, "held out"))[:kept_back]
        kept = np.delete(rows, validation)
        return kept[take_turns(self.index["label"][kept], draw.seed)], rows[validation]

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
