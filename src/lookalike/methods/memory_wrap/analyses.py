"""Analysis `counterfactuals`: how plausible counterfactual images are, of the memory and of a prototype-guided search.

As in the Applied Intelligence paper, but every image by itself and by the autoencoder of its own class; autoencoders
and prototypes see the run's training subset and nothing else.
"""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from lookalike.contracts.features import Features
from lookalike.core.determinism import make_generator
from lookalike.core.seeds import derive_seed
from lookalike.data.images import Images
from lookalike.methods.analysis_input import AnalysisInput
from lookalike.methods.embedding import embed
from lookalike.methods.memory_wrap.counterfactuals import (
    AutoEncoder,
    Plausibility,
    closest_prototypes,
    plausibility,
    search_counterfactuals,
    train_autoencoder,
    trust_score,
)

if TYPE_CHECKING:
    import pandas as pd

BLOCK = 512  # images that pass an encoder at once
SCORES = ("im1", "iim1", "im2", "trust")
UPSTREAM_BATCH = 64  # queries over whose images together the original takes one norm
log = logging.getLogger(__name__)


@torch.no_grad()
def score_counterfactuals(given: AnalysisInput) -> dict[str, Any]:
    """Columns with one row a query and way to get a counterfactual.

    `source` is `memory` (the heaviest used memory image of another class) or `search`; `counterfactual` the class of
    the image, `found` whether there is one whose class has an autoencoder; `new`, `old`, `gap`, `size` and `im1`,
    `iim1`, `im2` norms and scores of `Plausibility`, `gap_old` the gap with the old class's autoencoder, which the
    original takes; `trust` the trust score of the code.
    """
    classifier, device, n_classes = given.classifier, given.device, given.data.n_classes
    seed = given.seeds.of_queries(given.evaluation_set, "scored counterfactuals")
    order = torch.randperm(len(given.queries), generator=make_generator(seed))
    queries = given.queries.rows(order[: given.settings.queries])
    training = given.training_images()
    shown = given.images(queries.ids.numpy()).load(torch.arange(len(queries), device=device))

    with torch.enable_grad():
        full, of_class = _autoencoders(
            training, n_classes, given.settings.epochs, given.seeds.of_subset("autoencoders")
        )
    log.info("trained %d autoencoders", 1 + len(of_class))
    training_classes = torch.from_numpy(classifier.predict(embed(classifier, training), "cached").predicted()).to(
        device
    )
    prototypes, has_prototype = _prototypes(training, training_classes, full, n_classes)
    predicted = torch.from_numpy(classifier.predict(queries, "cached").predicted()).to(device)
    codes = full.encoder(shown)
    allowed = has_prototype & (torch.arange(n_classes, device=device) != predicted[:, None])
    target = closest_prototypes(codes, prototypes, allowed)

    def classify(images: Tensor) -> Tensor:
        features = torch.cat([classifier.embed(part) for part in images.split(BLOCK)])
        prediction = classifier.predict(Features.unlabelled(features.cpu()), "cached")
        return torch.from_numpy(prediction.predicted()).to(device)

    searched = search_counterfactuals(
        classify,
        full.encoder,
        shown,
        predicted,
        prototypes[target],
        _value_range(training),
        given.settings.iterations,
    )
    chosen = [record.counterfactual for record in classifier.explain(queries, "cached")]
    ids = np.array([int(queries.ids[i]) if e is None else e.id for i, e in enumerate(chosen)])
    classes = torch.tensor([-1 if e is None else int(e.predicted or 0) for e in chosen], device=device)
    of_memory = given.images(ids).load(torch.arange(len(ids), device=device))
    tables: list[dict[str, np.ndarray]] = []
    for source, images, new, exists in (
        ("memory", of_memory, classes, classes >= 0),
        ("search", searched.images, searched.classes, searched.found & allowed.any(1)),
    ):
        norms, gap_old, scored = _norms(images, new, predicted, exists, full, of_class)
        new_codes = full.encoder(images)
        trust = trust_score(new_codes, prototypes[predicted], prototypes[new.clamp(min=0)])
        both = has_prototype[predicted] & has_prototype[new.clamp(min=0)]
        columns = {
            "id": queries.ids,
            "label": queries.labels,
            "predicted": predicted,
            "counterfactual": new,
            "found": scored,
            **asdict(norms),
            "im1": norms.im1,
            "iim1": norms.iim1,
            "im2": norms.im2,
            "gap_old": gap_old,
            "trust": torch.where(scored & both, trust.double(), torch.nan),
        }
        tables.append(
            {name: values.cpu().numpy() for name, values in columns.items()} | {"source": np.array([source] * len(ids))}
        )
    return {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}


def summarise_counterfactuals(scores: pd.DataFrame, metrics: dict[str, float]) -> list[dict[str, Any]]:
    """One row a way to get a counterfactual: share found, and mean scores over the images that have them."""
    rows = []
    for source, part in scores.groupby("source", sort=False):
        scored = part[part.found]
        row = {"mode": source, "found": float(part.found.mean())}
        row |= {name: float(scored[name].mean()) for name in SCORES}
        # One norm a batch is the root of a sum of squares.
        batch = np.arange(len(scored)) // UPSTREAM_BATCH
        norms = scored[["new", "old", "gap_old", "size"]].pow(2).groupby(batch).sum() ** 0.5
        row["im1_upstream"] = float((norms.new / norms.old).mean())
        row["iim1_upstream"] = float((norms.old / norms.new).mean())
        row["im2_upstream"] = float((norms.gap_old / norms["size"]).mean())
        rows.append(row)
    return rows


def _autoencoders(
    training: Images, n_classes: int, epochs: int, seed: int
) -> tuple[AutoEncoder, dict[int, AutoEncoder]]:
    """One for all training images, and one for each class that has any; the same for every model of a subset."""
    every = torch.arange(len(training), device=training.labels.device)
    full = train_autoencoder(training.load, every, epochs, derive_seed(seed, "all"))
    of_class = {}
    for label in range(n_classes):
        rows = every[training.labels == label]
        if len(rows):
            of_class[label] = train_autoencoder(training.load, rows, epochs, derive_seed(seed, label))
    return full, of_class


def _prototypes(training: Images, classes: Tensor, full: AutoEncoder, n_classes: int) -> tuple[Tensor, Tensor]:
    """(C, 1, h, w) mean code of the training images that the model gives each class, and (C,) whether there are any."""
    sums: Tensor | None = None
    for rows in torch.arange(len(training), device=classes.device).split(BLOCK):
        codes = full.encoder(training.load(rows))
        if sums is None:
            sums = torch.zeros(n_classes, *codes.shape[1:], device=codes.device)
        sums.index_add_(0, classes[rows], codes)
    assert sums is not None
    counts = torch.bincount(classes, minlength=n_classes)
    return sums / counts.clamp(min=1).view(-1, 1, 1, 1), counts > 0


def _value_range(training: Images) -> tuple[float, float]:
    """Lowest and highest value of the normalised training images."""
    low, high = float("inf"), -float("inf")
    for rows in torch.arange(len(training), device=training.labels.device).split(BLOCK):
        images = training.load(rows)
        low, high = min(low, float(images.min())), max(high, float(images.max()))
    return low, high


def _norms(
    images: Tensor, new: Tensor, old: Tensor, exists: Tensor, full: AutoEncoder, of_class: dict[int, AutoEncoder]
) -> tuple[Plausibility, Tensor, Tensor]:
    """Norms (B,) for the scores, the gap with the old class's autoencoder, and which rows could be scored."""
    has_network = torch.tensor([label in of_class for label in range(int(max(new.max(), old.max())) + 1)])
    has_network = has_network.to(new.device)
    scored = exists & has_network[new.clamp(min=0)] & has_network[old]
    of_new, of_old = _reconstructions(images, new, of_class), _reconstructions(images, old, of_class)
    of_all = full(images)
    norms, swapped = plausibility(images, of_new, of_old, of_all), plausibility(images, of_old, of_new, of_all)
    masked = [torch.where(scored, norm, torch.nan) for norm in asdict(norms).values()]
    return Plausibility(*masked), torch.where(scored, swapped.gap, torch.nan), scored


def _reconstructions(images: Tensor, classes: Tensor, of_class: dict[int, AutoEncoder]) -> Tensor:
    """Each image by the autoencoder of its class; zeros where there is none."""
    reconstructions = torch.zeros_like(images)
    for label, network in of_class.items():
        rows = classes == label
        if bool(rows.any()):
            reconstructions[rows] = network(images[rows])
    return reconstructions
