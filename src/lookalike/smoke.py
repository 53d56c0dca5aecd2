"""A study in small: its whole configuration on made-up images and random networks, in minutes on a laptop.

Before a cluster spends days on a study, this shows that every model, mode, evaluation set, table and figure of it
works. Numbers mean nothing. Data come in the one on-disk form that real data have after `prepare_data`; files of
networks have the tensors of the real ones.
"""

from __future__ import annotations

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

from lookalike.backbones.build import make_backbone
from lookalike.data.prepare import write_prepared
from lookalike.data.raw import RawData
from lookalike.data.registry import DATA_SETS
from lookalike.data.resources import published_clean_ids, real_labels, wnids
from lookalike.data.settings import DataSettings
from lookalike.errors import LookalikeError
from lookalike.files import write_text
from lookalike.human_study.settings import FILES
from lookalike.methods.chm_corr.network import Branches, Learner, join_checkpoint
from lookalike.plan import named_weights
from lookalike.seeds import derive_seed
from lookalike.settings import BackboneSettings
from lookalike.stages import prepared_version
from lookalike.study import Study, read_study
from lookalike.tensors import write_tensors

CLASSES, TRAIN, OTHERS = 4, 4, 2  # images of each class in the training part, and in every other part
PARTS = 3  # key points, where a set has them
SMALL_SIZE = 8  # images, in place of the study's smallest size
# Numbers of a model's entry are cut to these, wherever they stand.
MOST = {
    "epochs": 1,
    "batch_size": 8,
    "micro_batch": 4,
    "warmup_epochs": 0.5,
    "n_way": CLASSES,
    "n_shot": 1,  # two images of a class are of each environment
    "n_random": 2,
    "n_clusters": 2,
    "n_neighbors": 4,
    "shortlist": 10,
    "voters": 4,
    "queries": 4,
    "iterations": 10,
    "steps": 4,
    "samples": 2,
    "components": 2,
    "held_out": CLASSES,
    "explained_queries": 2,
    "images": 8,
}
MARKER = "SMOKE.txt"
SMALLER = {"dense_flow_74_10": "dense_flow_small"}  # 130 million parameters, a checkpoint of gigabytes


def make_smoke(path: Path, folder: Path) -> str:
    """Write FOLDER/study.yaml, the study in small, and all data and networks that it reads.

    Args:
        path: of the study.
        folder: made anew.

    Returns:
        What was made, in a few words.

    Raises:
        LookalikeError: the study is wrong, or names a data set of the user's own.
    """
    study = read_study(path)
    for name, entry in study.datasets.items():
        if getattr(entry, "path", None):
            raise LookalikeError(f"datasets.{name} is of your own images; run the study itself on few of them.")
    if folder.exists():
        if any(folder.iterdir()) and not (folder / MARKER).exists():
            raise LookalikeError(
                f"{folder} is no folder of an earlier smoke; give a new one, which will be written anew."
            )
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    write_text(folder / MARKER, "Made by lookalike make-smoke, which deletes this folder when it is asked again.\n")
    values = reduce_study(study)
    write_text(folder / "study.yaml", yaml.safe_dump(values, sort_keys=False))
    small = read_study(folder / "study.yaml")
    made = {entry.prepared: entry for entry in small.datasets.values()}
    for prepared, entry in made.items():
        target = folder / "results" / "data" / prepared
        target.mkdir(parents=True)
        with tempfile.TemporaryDirectory() as temporary:
            write_prepared(draw_images(entry, Path(temporary)), entry, target)
        shutil.rmtree(target / ".shards", ignore_errors=True)
        write_text(target / "made_of.txt", prepared_version(entry))
    files = 0
    for model in values["models"].values():
        for part, weights in named_weights(model).items():
            if not (folder / weights).exists():
                draw_weights(part, model, folder / weights)
                files += 1
    return f"{len(list(small.plan().runs()))} runs on {len(made)} made-up data sets and {files} random networks"


def reduce_study(study: Study) -> dict[str, Any]:
    """The study in small: one seed, every model on one data set, every data set with a model, short trainings.

    Heat maps are drawn of one model a method.

    Args:
        study: the study.
    """
    values = study.model_dump(mode="json")
    values["title"] = f"In small, on made-up images: {study.title or study.name}"
    values["seeds"] = values["seeds"][:1]
    values["explained_queries"] = min(values["explained_queries"], MOST["explained_queries"])
    sizes = [size for size in values["sizes"] if size != "all"]
    values["sizes"] = [*[SMALL_SIZE] * bool(sizes), "all"]
    for entry in values["datasets"].values():
        _cut(entry)
        entry.pop("sizes", None)
    _place(study, values, bool(sizes))
    for model in values["models"].values():
        _cut(model)
        if model.get("training"):
            model["training"]["by_dataset"] = {}
        if model.get("memory"):
            model["memory"]["size"] = min(model["memory"]["size"], 2 * CLASSES)
        backbone = model.get("backbone")
        if backbone is not None:
            backbone["name"] = SMALLER.get(backbone["name"], backbone["name"])
        for part in named_weights(model):
            stem = model["backbone"]["name"] if part == "backbone" else "matching"
            model[part]["weights"] = f"weights/{stem}.safetensors"
    if values["patch"]:
        _cut(values["patch"])
        values["patch"]["target"] = min(values["patch"]["target"], CLASSES - 1)
    for entry in values["human_studies"].values():
        for key in FILES:
            if entry[key]:
                entry[key] = str(Path(entry[key]).resolve())
    values.pop("resources", None)
    return values


def _cut(entry: dict[str, Any]) -> None:
    for key, value in entry.items():
        if isinstance(value, dict):
            _cut(value)
        elif key in MOST and isinstance(value, int | float) and not isinstance(value, bool):
            entry[key] = min(value, MOST[key])


def _place(study: Study, values: dict[str, Any], by_size: bool) -> None:
    """Each model on one data set, in turns, with the models that it takes its network from; the first at two sizes."""
    plan = study.plan()
    trained_on = [name for name, entry in study.datasets.items() if entry.asked_of is None]
    used: dict[str, int] = dict.fromkeys(trained_on, 0)
    places: dict[str, str] = {}
    for name in sorted(plan.models, key=lambda model: len(_chain(plan.models, model))):
        chain = _chain(plan.models, name)
        if len(chain) > 1:
            places[name] = places[chain[1]]
        else:
            wanted = plan.models[name]["datasets"] or trained_on
            wanted = [dataset for dataset in wanted if any(plan.has_cell(dataset, name, s) for s in plan.sizes)]
            places[name] = min(wanted, key=lambda dataset: used[dataset])
        used[places[name]] += 1
    first: set[str] = set()
    for name, model in values["models"].items():
        model["datasets"] = [places[name]]
        both = by_size and not model.get("backbone_from") and model["method"] not in first
        model["sizes"] = [SMALL_SIZE, "all"] if both else ["all"]
        if model["method"] in first and (model.get("inference") or {}).get("heat_maps"):
            model["inference"]["heat_maps"] = None  # of random networks they take minutes to add up
        first.add(model["method"])
    empty = {name for name, count in used.items() if not count}
    gone = empty | {name for name, entry in study.datasets.items() if entry.asked_of in empty}
    for name in gone:
        del values["datasets"][name]


def _chain(models: dict[str, dict[str, Any]], name: str) -> list[str]:
    """A model, the one that gives its network, and so on."""
    found = [name]
    while source := models[found[-1]].get("backbone_from"):
        found.append(source)
    return found


def draw_images(settings: DataSettings, folder: Path) -> RawData:
    """Coloured noise, a colour a class, in the splits of the real set, with all that its index has.

    Args:
        settings: of the set.
        folder: for photographs.
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
            known = real_labels()
            more["answers"] = [
                [int(label)] if number and known[number - 1] else []
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


def draw_weights(part: str, model: dict[str, Any], path: Path) -> None:
    """A random network where a model's entry names a file: with a classifier of as many classes as there are.

    Args:
        part: `backbone` or `correspondence`.
        model: the entry.
        path: of the file to write.
    """
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed("smoke", str(path.name)))
        if part == "correspondence":
            state = join_checkpoint(Branches(), Learner(model["correspondence"]["kernel"], 1024, 256))
        else:
            backbone = make_backbone(BackboneSettings(name=model["backbone"]["name"]), (3, 64, 64))
            state = dict(backbone.state_dict())
            state |= {
                "fc.weight": torch.randn(CLASSES, backbone.dim) / backbone.dim**0.5,
                "fc.bias": torch.zeros(CLASSES),
            }
    write_tensors(path, state)
