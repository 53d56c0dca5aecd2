"""A study in small: its whole configuration on drawn images and random networks, in minutes on a laptop.

Before a cluster spends days on a study, this shows that every model, mode, evaluation set, table and figure of it
works. Numbers mean nothing. Data come in the one on-disk form that real data have after `prepare_data`; files of
networks have the tensors of the real ones. What a setting is cut to stands beside it, where it is declared.
"""

from __future__ import annotations

import importlib
import io
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image

from lookalike.backbones.registry import BACKBONES
from lookalike.contracts.settings import Settings, SmokeAtMost, SmokeOnce, WeightsFile, marked_keys
from lookalike.core.errors import LookalikeError
from lookalike.core.files import write_text
from lookalike.core.seeds import derive_seed
from lookalike.data.prepare import write_prepared
from lookalike.data.raw import RawData
from lookalike.data.registry import DATA_SETS
from lookalike.data.resources import published_clean_ids, real_labels, wnids
from lookalike.data.settings import DataSettings
from lookalike.pipeline.fingerprint import VERSION_FILE, prepared_version
from lookalike.study.model import Study
from lookalike.study.plan import Plan
from lookalike.study.read import read_study

CLASSES, TRAIN, OTHERS = 4, 4, 1  # images of each class in the training part, and in every other part
PARTS = 3  # key points, where a set has them
SMALL_SIZE = 8  # images, in place of the study's smallest size
MARKER = "SMOKE.txt"


def make_smoke(path: Path, folder: Path) -> str:
    """Write FOLDER/study.yaml, the study in small, and all data and networks that it reads.

    Args:
        path: Path of the study.
        folder: Folder that is written anew.

    Returns:
        What there is now, in a few words.

    Raises:
        LookalikeError: The study is wrong, or names a data set of the user's own.
    """
    study = read_study(path)
    for name, entry in study.datasets.items():
        if entry.path_of_images:
            raise LookalikeError(f"datasets.{name} is of your own images; run the study itself on few of them.")
    if folder.exists():
        if any(folder.iterdir()) and not (folder / MARKER).exists():
            raise LookalikeError(
                f"{folder} is no folder of an earlier smoke; give a new one, which will be written anew."
            )
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    write_text(folder / MARKER, "Written by lookalike make-smoke, which deletes this folder when it is asked again.\n")
    write_text(folder / "study.yaml", yaml.safe_dump(reduce_study(study), sort_keys=False))
    small = read_study(folder / "study.yaml")
    prepared = {entry.prepared: entry for entry in small.datasets.values()}
    for name, entry in prepared.items():
        target = folder / "results" / "data" / name
        target.mkdir(parents=True)
        with tempfile.TemporaryDirectory() as temporary:
            write_prepared(draw_images(entry, Path(temporary)), entry, target)
        shutil.rmtree(target / ".shards", ignore_errors=True)
        write_text(target / VERSION_FILE, prepared_version(entry))
    files = {}
    for owner in (*small.models.values(), *small.datasets.values()):
        for keys, weights, mark in marked_keys(owner, WeightsFile):
            if weights is not None and weights not in files:
                files[weights] = _draw_network(owner, keys, mark, folder / weights)
    runs = list(Plan.of(small).runs())
    return f"{len(runs)} runs on {len(prepared)} drawn data sets and {len(files)} random networks"


def _draw_network(owner: Settings, keys: tuple[str, ...], mark: WeightsFile, path: Path) -> Path:
    """Write random weights where settings name a file: with a classifier of as many classes as there are."""
    block: Any = owner
    for key in keys[:-1]:
        block = getattr(block, key)
    module, _, name = mark.random.partition(":")
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed("smoke", path.name))
        getattr(importlib.import_module(module), name)(block, CLASSES, path)
    return path


def reduce_study(study: Study) -> dict[str, Any]:
    """The study in small: one seed, every model on one data set, every data set with a model, short trainings.

    Keys that are marked for it keep their value for the first model of each method alone.

    Args:
        study: The study.
    """
    values = study.model_dump(mode="json")
    values["title"] = f"In small, on drawn images: {study.title or study.name}"
    values["seeds"] = values["seeds"][:1]
    has_sizes = any(size != "all" for size in study.train_sizes)
    values["train_sizes"] = [*[SMALL_SIZE] * has_sizes, "all"]
    _cut(study, values)
    for name, entry in study.datasets.items():
        _cut(entry, values["datasets"][name])
        _name_networks(entry, values["datasets"][name])
        values["datasets"][name]["train_sizes"] = None
    seen: set[str] = set()
    for name, model in study.models.items():
        _reduce_model(model, values["models"][name], is_first=model.method not in seen, by_size=has_sizes)
        seen.add(model.method)
    _place(study, values)
    if study.adversarial_patch is not None:
        _cut(study.adversarial_patch, values["adversarial_patch"])
        values["adversarial_patch"]["target"] = min(study.adversarial_patch.target, CLASSES - 1)
    for name, human_study in study.human_studies.items():
        for key, path in human_study.files().items():
            values["human_studies"][name][key] = str(Path(path).resolve())
    values.pop("resources", None)
    return values


def _reduce_model(model: Any, values: dict[str, Any], is_first: bool, by_size: bool) -> None:
    """Cut a model's numbers, give its networks other files, and let the first of a method run at two sizes."""
    _cut(model, values)
    if values.get("training"):
        values["training"]["by_dataset"] = {}
    for keys, _, _ in marked_keys(model, SmokeOnce):
        block = _block(values, keys)
        if not is_first and block is not None:
            block[keys[-1]] = None
    if values.get("backbone"):
        name = values["backbone"]["name"]
        values["backbone"]["name"] = BACKBONES[name].smoke or name
    _name_networks(model, values)
    both = by_size and model.network_from is None and is_first
    values["train_sizes"] = [SMALL_SIZE, "all"] if both else ["all"]


def _name_networks(owner: Settings, values: dict[str, Any]) -> None:
    """Give every file of weights a name below the folder of the study in small."""
    for keys, path, _ in marked_keys(owner, WeightsFile):
        block = _block(values, keys)
        if path is not None and block is not None:
            stem = block.get("name") or (keys[-2] if len(keys) > 1 else keys[-1])
            block[keys[-1]] = f"weights/{stem}.safetensors"


def _cut(owner: Settings, values: dict[str, Any]) -> None:
    """Cut the numbers that settings mark."""
    for keys, value, mark in marked_keys(owner, SmokeAtMost):
        block = _block(values, keys)
        if value is not None and block is not None:
            block[keys[-1]] = min(value, mark.most)


def _block(values: dict[str, Any], keys: tuple[str, ...]) -> dict[str, Any] | None:
    """The mapping that holds a nested key."""
    block: dict[str, Any] | None = values
    for key in keys[:-1]:
        block = None if block is None else block[key]
    return block


def _place(study: Study, values: dict[str, Any]) -> None:
    """Each model on one data set, in turns, with the models that it takes its network from."""
    plan = Plan.of(study)
    trained_on = [name for name, entry in study.datasets.items() if entry.models_of is None]
    used: dict[str, int] = dict.fromkeys(trained_on, 0)
    places: dict[str, str] = {}
    for name in sorted(study.models, key=lambda model: len(_givers(study, model))):
        givers = _givers(study, name)
        if givers:
            places[name] = places[givers[0]]
        else:
            wanted = study.models[name].datasets or trained_on
            wanted = [dataset for dataset in wanted if any(plan.has_cell(dataset, name, s) for s in plan.sizes)]
            places[name] = min(wanted, key=lambda dataset: used[dataset])
        used[places[name]] += 1
        values["models"][name]["datasets"] = [places[name]]
    empty = {name for name, count in used.items() if not count}
    for name in empty | {name for name, entry in study.datasets.items() if entry.models_of in empty}:
        del values["datasets"][name]


def _givers(study: Study, name: str) -> list[str]:
    """The model that gives a model's network, the one that gives that one's, and so on."""
    givers: list[str] = []
    while giver := study.models[givers[-1] if givers else name].network_from:
        givers.append(giver)
    return givers


def draw_images(settings: DataSettings, folder: Path) -> RawData:
    """Coloured noise, a colour a class, in the splits of the real set, with all that its index has.

    Args:
        settings: The set's entry of the study.
        folder: Folder for photographs.
    """
    row = DATA_SETS[settings.source]
    counts = {split: CLASSES * (TRAIN if split == "train" else OTHERS) for split in row.images}
    splits = np.repeat(list(counts), list(counts.values()))
    labels = np.arange(len(splits)) % CLASSES
    random = np.random.default_rng(derive_seed("smoke", settings.prepared))
    names, sources = [f"class {number}" for number in range(CLASSES)], [f"{k:05d}.png" for k in range(len(splits))]
    more: dict[str, Any] = {"environments": np.arange(len(splits)) // CLASSES % 2}
    if settings.source.startswith("imagenet") or settings.source == "damagenet":
        clean = iter(sorted(published_clean_ids()))
        numbers = [next(clean) if split == "test" else 0 for split in splits]
        sources = [f"ILSVRC2012_val_{number:08d}.JPEG" for number in numbers]
        more["facts"] = {"wnids": wnids()[:CLASSES]}
        if settings.source == "imagenet":
            real = real_labels()
            more["answers"] = [
                [int(label)] if number and real[number - 1] else []
                for number, label in zip(numbers, labels, strict=True)
            ]
    side = row.image_shape[-1] if row.image_shape else max(72, getattr(settings, "size", 72))
    if row.key_points:
        boxes = np.tile(np.array([4, 4, side - 8, side - 8], np.float32), (len(splits), 1))
        points = random.uniform(8, side - 8, (len(splits), PARTS, 3)).astype(np.float32)
        points[..., 2] = 1
        more |= {"points": points, "point_names": tuple(f"part {number}" for number in range(PARTS))}
        if settings.source == "cub200":
            more["boxes"] = boxes
    pixels = _pixels(random, labels, (row.image_shape or (3, side, side)))
    images = pixels if row.image_shape else list(_files(pixels, folder))
    return RawData(images, labels, splits, names, sources, **more)


def _pixels(random: np.random.Generator, labels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """(N, C, H, W) uint8: noise in blocks of a quarter of the side, brighter from class to class."""
    channels, height, width = shape
    blocks = random.integers(0, 128, (len(labels), channels, 4, 4)) + 30 * labels[:, None, None, None]
    tall = blocks.repeat(-(-height // 4), 2)[:, :, :height]
    return tall.repeat(-(-width // 4), 3)[..., :width].astype(np.uint8)


def _files(pixels: np.ndarray, folder: Path) -> Iterator[Path]:
    for number, image in enumerate(pixels):
        out = io.BytesIO()
        Image.fromarray(np.moveaxis(image, 0, -1)).save(out, "PNG")
        path = folder / f"{number:05d}.png"
        path.write_bytes(out.getvalue())
        yield path
