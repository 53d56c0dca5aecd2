"""Table of methods that explain by patches: how right their pairs are."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lookalike.evaluation.collect import read_table
from lookalike.plan import Plan
from lookalike.reporting.summaries import GROUP, heading_columns, interval, over_seeds

MEASURES = {
    "warp_pck": "PCK@0.1, warps (%)",
    "part_pck": "PCK@0.1, parts (%)",
    "same_part": "Pairs of one part (%)",
    "patches_taken": "Vote lost without patches (%)",
    "exemplars_taken": "Vote lost without exemplars (%)",
}
SHARES = ("warp_pck", "part_pck", "same_part")  # means over points or pairs; the others are means over queries


def table_correspondences(plan: Plan) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """How right patch pairs are, by the method and by what it is compared with."""
    rows = []
    for run, split in plan.correspondences():
        frame = read_table(run.correspondences(split))
        for by, part in frame.groupby("by", sort=False):
            name = run.model if by == "method" else f"{run.model}: {by}"
            key = dict(zip(GROUP, (run.dataset, run.size, name, "vote", split), strict=True))
            found: dict[str, float] = {}
            for measure, of_measure in part.groupby("measure"):
                weights = of_measure["count"] if measure in SHARES else None
                found[str(measure)] = float(np.average(of_measure.value, weights=weights))
            rows.append({**key, "seed": run.seed, **found})
    frame = pd.DataFrame(rows)
    measures = [measure for measure in MEASURES if measure in frame]
    numbers = over_seeds(frame, measures, GROUP)
    shown = heading_columns(numbers).drop(columns="Mode")
    for measure in measures:
        shown[MEASURES[measure]] = [interval(row, measure, 100, 1) for _, row in numbers.iterrows()]
    caption = (
        "Patch pairs. PCK@0.1: key points that arrive within a tenth of the side of where a random warp moved them, or "
        "of the same part in the nearest exemplars of the query's class; `nearest` takes the most similar patch, "
        "`cosine` plain cosines and CHMNet's transfer. Pairs of one part: drawn pairs whose query patch holds a part "
        "and whose exemplar patch holds it or is beside it; `random` takes any patch. Vote lost: by painting over the "
        "five patches that count most, or taking the shown exemplars away; `random` takes as many others. Mean and "
        f"95 % t interval over seeds. Study {plan.study}."
    )
    return numbers, shown, caption
