"""Precompute what inference needs: the support of a run, and its embedded queries.

Queries pass the backbone once; every inference mode reads the result.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import replace
from pathlib import Path

import torch

from lookalike.data.corruptions import APPLY
from lookalike.data.framing import framed_points
from lookalike.data.images import Images, open_images
from lookalike.data.prepared import PreparedData, open_data, open_queries
from lookalike.determinism import pin_arithmetic
from lookalike.devices import best_device
from lookalike.evaluation.patch import patched
from lookalike.evaluation.sets import evaluation_set
from lookalike.files import digest
from lookalike.methods.base import Classifier, Embedded, Looks
from lookalike.methods.build import load_classifier
from lookalike.plan import RunSpec
from lookalike.seeds import derive_seed
from lookalike.stages import stage_code
from lookalike.support.embed import embed
from lookalike.support.store import load_tensors, origin_of, save_tensors
from lookalike.tracking.record import write_record


def precompute_support(run: RunSpec) -> None:
    """Write support/support.safetensors and support/queries@<set>.safetensors of the sets that are no others changed.

    A run that trains nothing gets its run.json here.

    Raises:
        LookalikeError: data or weights are missing or damaged, or a class has no image.
    """
    started, begin = time.time(), time.perf_counter()
    pin_arithmetic(run.plan.threads)
    data = open_data(run)
    device = best_device(run.plan.runs_per_gpu)
    classifier = load_classifier(run, data)
    classifier.embed_on(device)
    origin = _origin(run, data)
    rows = data.training_rows(run)
    training = open_images(data, rows, device)
    support = embed(classifier, training)
    classifier.build_support(support, run.seed_for("support"))
    save_tensors(run.support_folder / "support.safetensors", classifier.support_tensors(), origin)
    classifier.open_gallery(Looks(training.take), run.support_folder / "gallery.safetensors", gallery_origin(run, data))
    for split in filter(run.plan.is_with_support, run.plan.evaluation_sets):
        images = evaluation_images(run, data, split, device)
        looks = Looks(images.take, framed_points(data, images.rows))
        save_tensors(run.queries(split), classifier.compare(embed(classifier, images), looks).tensors(), origin)
    if not run.trained:
        write_record(run, data, len(rows), str(device), started, time.perf_counter() - begin)


def embed_queries(run: RunSpec, name: str) -> None:
    """Write support/queries@<name>.safetensors: changed images, or those of another entry, beside a run's support.

    Raises:
        LookalikeError: data, weights or support are missing or damaged, or the two data sets do not fit.
    """
    data, classifier = _load(run)
    device = best_device(run.plan.runs_per_gpu)
    classifier.embed_on(device)
    training = open_images(data, data.training_rows(run), device)
    classifier.open_gallery(Looks(training.take), run.support_folder / "gallery.safetensors", gallery_origin(run, data))
    asked = open_queries(run, data, name)
    if asked is data:
        images = evaluation_images(run, data, name, device)
    else:
        images = open_images(asked, asked.rows("test"), device)
    queries = embed(classifier, images)
    if asked.settings.queries_for and asked.settings.competing_classes == "present":
        queries = replace(queries, competing=queries.labels.unique())
    points = framed_points(asked, images.rows) if asked.stored_shape == asked.image_shape else None
    compared = classifier.compare(queries, Looks(images.take, points))
    save_tensors(run.queries(name), compared.tensors(), _origin_of_queries(run, data, asked))


def evaluation_images(run: RunSpec, data: PreparedData, name: str, device: torch.device) -> Images:
    """The images of an evaluation set, changed as its name says."""
    wanted = evaluation_set(name)
    images = open_images(data, data.evaluation_rows(run, wanted.split), device)
    if wanted.corruption:
        corrupt = APPLY[wanted.corruption]
        seed = derive_seed(run.plan.seed, run.dataset, "corruption")  # the same images for every model and seed
        images.change = lambda pixels, ids: corrupt(pixels, ids, wanted.severity, seed)
    if wanted.patch:
        shape = run.plan.patch["shape"] if run.plan.patch else "circle"
        images.change = patched(run.patch, shape, derive_seed(run.plan.seed, run.dataset, "patched"))
    return images


def load_run(run: RunSpec, split: str) -> tuple[PreparedData, Classifier, Embedded]:
    """Data, classifier with its support, and embedded queries of an evaluation set.

    Raises:
        LookalikeError: something is missing, damaged or out of date.
    """
    data, classifier = _load(run)
    origin = _origin_of_queries(run, data, open_queries(run, data, split))
    return data, classifier, Embedded.of_tensors(load_tensors(run.queries(split), origin))


def _load(run: RunSpec) -> tuple[PreparedData, Classifier]:
    pin_arithmetic(run.plan.threads)
    data = open_data(run)
    classifier = load_classifier(run, data)
    classifier.load_support(load_tensors(run.support_folder / "support.safetensors", _origin(run, data)))
    return data, classifier


def gallery_origin(run: RunSpec, data: PreparedData) -> dict[str, str]:
    """What prepared training images come from: weights, images and code; how they are compared does not matter."""
    origin = _origin(run, data)
    of_network = {key: run.settings.get(key) for key in ("backbone", "backbone_from", "correspondence")}
    compat = run.settings.get("inference", {}).get("compat")
    code = stage_code("precompute_support", run.settings)
    return {
        "weights": origin["weights"],
        "data": origin["data"],
        "network": digest([of_network, _matching_weights(run), compat, code]),
        "images": hashlib.sha256(data.training_rows(run).tobytes()).hexdigest(),
    }


def _origin_of_queries(run: RunSpec, data: PreparedData, asked: PreparedData) -> dict[str, str]:
    origin = _origin(run, data)
    return origin if asked is data else {**origin, "queries": digest([asked.hash, asked.settings.choosing()])}


def _matching_weights(run: RunSpec) -> str | None:
    """Hash of the checkpoint of the matching network, where the run names one."""
    path = (run.settings.get("correspondence") or {}).get("weights")
    return None if path is None else origin_of(Path(path), "", {})["weights"]


def _origin(run: RunSpec, data: PreparedData) -> dict[str, str]:
    weights = run.weights or Path(run.settings["backbone"]["weights"])
    settings = {**run.support_settings, "size": run.size, "seed": run.seed}
    matching = _matching_weights(run)
    if matching is not None:
        settings["correspondence"] = matching
    return origin_of(weights, data.hash, settings)
