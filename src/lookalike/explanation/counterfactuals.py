"""Score the counterfactual images of a memory, and those that a prototype-guided search makes of the query.

As in the Applied Intelligence paper, but every image by itself and by the autoencoder of its own class; autoencoders
and prototypes see the run's training subset and nothing else.
"""

from __future__ import annotations

import logging
from dataclasses import asdict

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from lookalike.data.images import Images, open_images
from lookalike.determinism import generator
from lookalike.devices import best_device
from lookalike.errors import LookalikeError
from lookalike.files import writing
from lookalike.methods.base import Embedded
from lookalike.methods.memory_wrap.classifier import CounterfactualSettings
from lookalike.methods.memory_wrap.counterfactuals import (
    AutoEncoder,
    Plausibility,
    closest_prototypes,
    plausibility,
    search_counterfactuals,
    train_autoencoder,
    trust_score,
)
from lookalike.plan import RunSpec
from lookalike.seeds import derive_seed
from lookalike.support.embed import embed
from lookalike.support.precompute import load_run

BLOCK = 512  # images that pass an encoder at once
log = logging.getLogger(__name__)


@torch.no_grad()
def score_counterfactuals(run: RunSpec, split: str) -> str:
    """Write counterfactuals/<set>.parquet: one row a query and source.

    `source` is `memory` (the heaviest used memory image of another class) or `search`; `counterfactual` the class of
    the image, `found` whether there is one whose class has an autoencoder; `new`, `old`, `gap`, `size` and `im1`,
    `iim1`, `im2` norms and scores of `Plausibility`, `gap_old` the gap with the old class's autoencoder, which the
    original takes; `trust` the trust score of the code.

    Returns:
        How many queries each source has a counterfactual for.

    Raises:
        LookalikeError: the model asks for none; data, weights or support are missing or damaged.
    """
    if run.counterfactual_settings is None:
        raise LookalikeError(
            f"{run.id} asks for no scores of counterfactuals, which memory_wrap and baseline_memory have; write\n"
            f"  models:\n    {run.model}:\n      inference: {{counterfactuals: {{}}}}"
        )
    settings = CounterfactualSettings.model_validate(run.counterfactual_settings)
    data, classifier, queries = load_run(run, split)
    device = best_device(run.plan.runs_per_gpu)
    classifier.embed_on(device)
    made = generator(derive_seed(run.plan.seed, run.dataset, run.seed, split, "scored counterfactuals"))
    queries = queries.rows(torch.randperm(len(queries), generator=made)[: settings.queries])
    training = open_images(data, data.training_rows(run), device)
    shown = open_images(data, queries.ids.numpy(), device).take(torch.arange(len(queries), device=device))

    with torch.enable_grad():
        full, of_class = _autoencoders(run, training, data.n_classes, settings.epochs)
    log.info("trained %d autoencoders", 1 + len(of_class))
    given = torch.from_numpy(classifier.predict(embed(classifier, training), "cached").predicted()).to(device)
    prototypes, known = _prototypes(training, given, full, data.n_classes)
    predicted = torch.from_numpy(classifier.predict(queries, "cached").predicted()).to(device)
    codes = full.encoder(shown)
    allowed = known & (torch.arange(data.n_classes, device=device) != predicted[:, None])
    target = closest_prototypes(codes, prototypes, allowed)

    def classify(images: Tensor) -> Tensor:
        features = torch.cat([classifier.embed(part) for part in images.split(BLOCK)])
        found = classifier.predict(Embedded.unlabelled(features.cpu()), "cached")
        return torch.from_numpy(found.predicted()).to(device)

    searched = search_counterfactuals(
        classify,
        full.encoder,
        shown,
        predicted,
        prototypes[target],
        _value_range(training),
        settings.iterations,
    )
    chosen = [record.counterfactual for record in classifier.explain(queries, "cached")]
    ids = np.array([int(queries.ids[i]) if e is None else e.id for i, e in enumerate(chosen)])
    classes = torch.tensor([-1 if e is None else int(e.predicted or 0) for e in chosen], device=device)
    own = open_images(data, ids, device).take(torch.arange(len(ids), device=device))
    tables, said = [], []
    for source, images, new, there in (
        ("memory", own, classes, classes >= 0),
        ("search", searched.images, searched.classes, searched.found & allowed.any(1)),
    ):
        norms, gap_old, scored = _norms(images, new, predicted, there, full, of_class)
        new_codes = full.encoder(images)
        trust = trust_score(new_codes, prototypes[predicted], prototypes[new.clamp(min=0)])
        both_known = known[predicted] & known[new.clamp(min=0)]
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
            "trust": torch.where(scored & both_known, trust.double(), torch.nan),
        }
        table = pa.table({name: values.cpu().numpy() for name, values in columns.items()})
        tables.append(table.append_column("source", pa.array([source] * len(ids))))
        said.append(f"{source} {int(scored.sum())}")
    with writing(run.counterfactuals(split)) as temporary:
        pq.write_table(pa.concat_tables(tables), temporary)
    return f"counterfactuals of {len(ids)} queries: {', '.join(said)}"


def _autoencoders(
    run: RunSpec, training: Images, n_classes: int, epochs: int
) -> tuple[AutoEncoder, dict[int, AutoEncoder]]:
    """One for all training images, and one for each class that has any; the same for every model of a subset."""
    seed = derive_seed(run.plan.seed, run.dataset, run.size, run.seed, "autoencoders")
    every = torch.arange(len(training), device=training.labels.device)
    full = train_autoencoder(training.take, every, epochs, derive_seed(seed, "all"))
    of_class = {}
    for label in range(n_classes):
        rows = every[training.labels == label]
        if len(rows):
            of_class[label] = train_autoencoder(training.take, rows, epochs, derive_seed(seed, label))
    return full, of_class


def _prototypes(training: Images, given: Tensor, full: AutoEncoder, n_classes: int) -> tuple[Tensor, Tensor]:
    """(C, 1, h, w) mean code of the training images that the model gives each class, and (C,) whether there are any."""
    sums: Tensor | None = None
    for rows in torch.arange(len(training), device=given.device).split(BLOCK):
        codes = full.encoder(training.take(rows))
        if sums is None:
            sums = torch.zeros(n_classes, *codes.shape[1:], device=codes.device)
        sums.index_add_(0, given[rows], codes)
    assert sums is not None
    counts = torch.bincount(given, minlength=n_classes)
    return sums / counts.clamp(min=1).view(-1, 1, 1, 1), counts > 0


def _value_range(training: Images) -> tuple[float, float]:
    """Lowest and highest value of the normalised training images."""
    low, high = float("inf"), -float("inf")
    for rows in torch.arange(len(training), device=training.labels.device).split(BLOCK):
        images = training.take(rows)
        low, high = min(low, float(images.min())), max(high, float(images.max()))
    return low, high


def _norms(
    images: Tensor, new: Tensor, old: Tensor, there: Tensor, full: AutoEncoder, of_class: dict[int, AutoEncoder]
) -> tuple[Plausibility, Tensor, Tensor]:
    """Norms (B,) for the scores, the gap with the old class's autoencoder, and which rows could be scored."""
    has_one = torch.tensor([label in of_class for label in range(int(max(new.max(), old.max())) + 1)]).to(new.device)
    scored = there & has_one[new.clamp(min=0)] & has_one[old]
    of_new, of_old = _reconstructions(images, new, of_class), _reconstructions(images, old, of_class)
    of_all = full(images)
    found, swapped = plausibility(images, of_new, of_old, of_all), plausibility(images, of_old, of_new, of_all)
    unknown = [torch.where(scored, norm, torch.nan) for norm in asdict(found).values()]
    return Plausibility(*unknown), torch.where(scored, swapped.gap, torch.nan), scored


def _reconstructions(images: Tensor, classes: Tensor, of_class: dict[int, AutoEncoder]) -> Tensor:
    """Each image by the autoencoder of its class; zeros where there is none."""
    found = torch.zeros_like(images)
    for label, network in of_class.items():
        rows = classes == label
        if bool(rows.any()):
            found[rows] = network(images[rows])
    return found
