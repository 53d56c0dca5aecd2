"""Tables of methods with a memory: how good their explanations and counterfactuals are, in the form of the papers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from lookalike.evaluation.collect import read_table
from lookalike.plan import Plan
from lookalike.reporting.summaries import GROUP, heading_columns, interval, over_seeds, read_metrics

SCORES = ("im1", "iim1", "im2", "trust")
UPSTREAM_BATCH = 64  # queries over whose images together the original takes one norm


def table_explanations(plan: Plan) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """How far the memory images of an explanation agree with the decision."""
    metrics = {
        "accuracy": ("Accuracy (%)", 100, 2),
        "explanation_accuracy": ("Explanation accuracy (%)", 100, 2),
        "example_accuracy": ("... where an example (%)", 100, 2),
        "counterfactual_accuracy": ("... where a counterfactual (%)", 100, 2),
        "vote_accuracy": ("Vote of predictions (%)", 100, 2),
        "label_vote_accuracy": ("Vote of labels (%)", 100, 2),
        "used_images": ("Images used", 1, 1),
    }
    caption = (
        "Explanation accuracy: how often the heaviest memory image gets the query's class; accuracy where it does (an "
        "example) and where not (a counterfactual); accuracy of a majority vote of the used images, each counting "
        f"once. Mean over the memories and seeds that have a value, 95 % t interval. Study {plan.study}."
    )
    return _memory_table(plan, metrics, caption)


def table_non_representativeness(plan: Plan) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """How unlike its example a query is, for four ways to choose the example."""
    metrics = {
        f"{what}_{ranking}": (f"{heading}, {name}", 1, 3)
        for what, heading in (("input", "Input"), ("prediction", "Prediction"))
        for ranking, name in (("memory", "weight"), ("knn", "kNN*"), ("twin", "twin"), ("random", "random"))
    }
    caption = (
        "Non-representativeness (lower is better) of the memory image of the query's class that is first by weight, by "
        "distance of the hidden layer (kNN*), by its part in the logit (twin contribution), or at random: mean "
        "absolute difference of logits (input), cross-entropy of its logits against the query's class in nats "
        "(prediction). Mean over memories and seeds, 95 % t interval. Columns `_upstream` of the CSV: as the original "
        f"counts. Study {plan.study}."
    )
    return _memory_table(plan, metrics, caption)


def _memory_table(
    plan: Plan, metrics: Mapping[str, tuple[str, float, int]], caption: str
) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """A table of the evaluations that have a memory."""
    frame = read_metrics(plan)
    frame = frame[frame["explanation_accuracy"].notna()]
    upstream = [name for name in (f"{metric}_upstream" for metric in metrics) if name in frame]
    numbers = over_seeds(frame, [*metrics, *upstream], GROUP)
    shown = heading_columns(numbers)
    for metric, (heading, scale, digits) in metrics.items():
        shown[heading] = [interval(row, metric, scale, digits) for _, row in numbers.iterrows()]
    return numbers, shown, caption


def table_counterfactuals(plan: Plan) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """Plausibility of counterfactual images: of the memory, and of a search."""
    rows = []
    for run, split in plan.counterfactuals():
        frame = read_table(run.counterfactuals(split))
        for source, part in frame.groupby("source", sort=False):
            key = dict(zip(GROUP, (run.dataset, run.size, run.model, source, split), strict=True))
            rows.append({**key, "seed": run.seed, **_plausibility(part)})
    metrics = {
        "found": ("Found (%)", 100, 1),
        "im1": ("IM1", 1, 3),
        "iim1": ("IIM1", 1, 3),
        "im2": ("IM2", 1, 3),
        "trust": ("Trust score", 1, 3),
    }
    numbers = over_seeds(pd.DataFrame(rows), [name for name in rows[0] if name not in (*GROUP, "seed")], GROUP)
    shown = heading_columns(numbers).rename(columns={"Mode": "Counterfactual"})
    for metric, (heading, scale, digits) in metrics.items():
        shown[heading] = [interval(row, metric, scale, digits) for _, row in numbers.iterrows()]
    caption = (
        "Counterfactual images: the heaviest memory image of another class, and what a prototype-guided search makes "
        "of the query. IM1 and IM2: lower is better; IIM1 and trust score: higher. Mean over the seeds that found any, "
        "95 % t interval. Columns `_upstream` of the CSV: norms over batches of 64, as in the original. Study "
        f"{plan.study}."
    )
    return numbers, shown, caption


def _plausibility(frame: pd.DataFrame) -> dict[str, float]:
    """Mean scores of one run and source, over the images that have them."""
    scored = frame[frame.found]
    found = {"found": float(frame.found.mean())}
    found |= {name: float(scored[name].mean()) for name in SCORES}
    # One norm a batch is the root of a sum of squares.
    batch = np.arange(len(scored)) // UPSTREAM_BATCH
    norms = scored[["new", "old", "gap_old", "size"]].pow(2).groupby(batch).sum() ** 0.5
    found["im1_upstream"] = float((norms.new / norms.old).mean())
    found["iim1_upstream"] = float((norms.old / norms.new).mean())
    found["im2_upstream"] = float((norms.gap_old / norms["size"]).mean())
    return found
