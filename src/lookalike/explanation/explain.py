"""Explain a sample of queries of a run."""

from __future__ import annotations

import torch

from lookalike.determinism import generator
from lookalike.explanation.record import write_explanations
from lookalike.plan import RunSpec
from lookalike.seeds import derive_seed
from lookalike.support.precompute import load_run


def explain(run: RunSpec, mode: str, split: str) -> None:
    """Write explain/<mode>@<set>.parquet for the study's sampled queries.

    Half of the queries, where there are enough, are wrongly classified ones: those need an explanation most.
    The sample depends on the study, data set and seed, but not on settings of the explanation.
    """
    _, classifier, queries = load_run(run, split)
    wrong = torch.from_numpy(classifier.predict(queries.features, mode).predicted() != queries.labels.numpy())
    made = generator(derive_seed(run.plan.seed, run.dataset, run.seed, split, "explained queries"))
    order = torch.randperm(len(queries), generator=made)
    missed, hit = order[wrong[order]], order[~wrong[order]]
    count = run.plan.explained_queries
    few = min(count // 2, len(missed))
    rows = torch.cat([hit[: count - few], missed[:few]])
    write_explanations(run.explanations(mode, split), classifier.explain(queries.rows(rows), mode))
