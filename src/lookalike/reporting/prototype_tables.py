"""Table of methods with prototypes: how many they need, and how exactly their flow gives images back."""

from __future__ import annotations

import numpy as np
import pandas as pd
from safetensors.numpy import load_file

from lookalike.plan import Plan
from lookalike.reporting.summaries import GROUP, heading_columns, interval, over_seeds, read_metrics

KEPT = (1.0, 0.5, 0.0)  # shares of the prototypes that are not the best of their class
HEADINGS = ("Accuracy, all (%)", "with half of the others (%)", "with one a class (%)")


def table_prototypes(plan: Plan) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """Accuracy with fewer prototypes, bits a dimension, and the way there and back."""
    metrics = read_metrics(plan)
    rows = []
    for run, split in plan.prototypes():
        pruned = load_file(run.prototypes(split))["pruned"]  # from all prototypes down to one a class
        share = (pruned[:, 0] - pruned[-1, 0]) / max(pruned[0, 0] - pruned[-1, 0], 1)
        nearest = {kept: int(np.abs(share - kept).argmin()) for kept in KEPT}
        key = dict(zip(GROUP, (run.dataset, run.size, run.model, run.settings["modes"][0], split), strict=True))
        own = metrics[(metrics[list(key)] == pd.Series(key)).all(axis=1) & (metrics["seed"] == run.seed)].iloc[0]
        rows.append(
            {
                **key,
                "seed": run.seed,
                "prototypes": pruned[0, 0],
                **{f"accuracy_{kept:g}": pruned[nearest[kept], 1] for kept in KEPT},
                **{name: own[name] for name in ("bits_per_dim", "reconstruction_error", "changed_pixels")},
            }
        )
    frame = pd.DataFrame(rows)
    shares = [f"accuracy_{kept:g}" for kept in KEPT]
    exact = ["reconstruction_error", "changed_pixels"]
    numbers = over_seeds(frame, ["prototypes", *shares, "bits_per_dim"], GROUP)
    worst = frame.groupby(GROUP, sort=False)[exact].max().reset_index()
    numbers = numbers.merge(worst, on=GROUP)
    shown = heading_columns(numbers).drop(columns="Mode")
    shown["Prototypes"] = numbers["prototypes"].map("{:.0f}".format)
    for name, heading in zip(shares, HEADINGS, strict=True):
        shown[heading] = [interval(row, name, 100, 2) for _, row in numbers.iterrows()]
    shown["Bits/dim"] = [interval(row, "bits_per_dim", 1, 3) for _, row in numbers.iterrows()]
    shown["There and back, error"] = numbers["reconstruction_error"].map("{:.1e}".format)
    shown["pixels changed"] = numbers["changed_pixels"].map("{:.0f}".format)
    caption = (
        "Prototypes: accuracy with all of them, and with the least used ones taken away; bits a dimension, a bound; "
        "mean and 95 % t interval over seeds. There and back: largest difference of a pixel (0 to 1) between a test "
        "image and the inverse of its latents, and pixels of the whole set that differ once rounded, over all seeds. "
        f"Study {plan.study}."
    )
    return numbers, shown, caption
