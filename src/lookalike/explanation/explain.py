"""Explain a sample of queries of a run."""

from __future__ import annotations

import numpy as np
import torch

from lookalike.data.images import open_images
from lookalike.determinism import generator
from lookalike.devices import best_device
from lookalike.explanation.record import write_explanations
from lookalike.needs import looks_again
from lookalike.plan import RunSpec
from lookalike.seeds import derive_seed
from lookalike.support.precompute import load_run


def explain(run: RunSpec, mode: str, split: str) -> None:
    """Write explain/<mode>@<set>.parquet for the study's sampled queries.

    Half of the queries, where there are enough, are wrongly classified ones: those need an explanation most.
    The sample depends on the study, data set and seed, but not on settings of the explanation.
    """
    data, classifier, queries = load_run(run, split)
    wrong = torch.from_numpy(classifier.predict(queries, mode).predicted() != queries.labels.numpy())
    made = generator(derive_seed(run.plan.seed, run.dataset, run.seed, split, "explained queries"))
    order = torch.randperm(len(queries), generator=made)
    missed, hit = order[wrong[order]], order[~wrong[order]]
    count = run.plan.explained_queries
    few = min(count // 2, len(missed))
    rows = torch.cat([hit[: count - few], missed[:few]])
    asked = queries.rows(rows)
    records = classifier.explain(asked, mode)
    device = best_device(run.plan.runs_per_gpu) if looks_again(run.settings) else torch.device("cpu")
    classifier.embed_on(device)
    black, white = (open_images(data, np.array([0])).normalised(torch.full((1, 1, 1), value)) for value in (0.0, 1.0))

    def take(ids: list[int]) -> torch.Tensor:
        return open_images(data, np.array(ids)).take(torch.arange(len(ids)))

    def look(ids: list[int]) -> torch.Tensor:
        return open_images(data, np.array(ids), device).take(torch.arange(len(ids), device=device))

    records = classifier.add_links(records, asked, look)
    write_explanations(run.explanations(mode, split), classifier.add_heat_maps(records, take, (black[0], white[0])))
