"""Every model and mode against the baseline, on the same queries of the same seeds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lookalike.core.errors import LookalikeError
from lookalike.reporting.catalogue import PREDICTIONS, Table, TableContent
from lookalike.study.plan import Plan

if TYPE_CHECKING:
    import numpy as np

    from lookalike.study.plan import Evaluation


def draw_comparison(plan: Plan) -> TableContent:
    """One row a model, mode and evaluation set: difference of accuracy, and who alone is right."""
    import numpy as np
    import pandas as pd

    from lookalike.contracts.report import Column
    from lookalike.metrics.statistics import compare_paired, summarise_seeds
    from lookalike.reporting.collect import evaluation_key
    from lookalike.reporting.summaries import GROUP, add_cells, heading_columns, summary_columns

    correct: dict[tuple[object, ...], dict[int, np.ndarray]] = {}
    queries: dict[tuple[object, ...], tuple[Path, np.ndarray]] = {}
    for evaluation in plan.evaluations():
        drawn = _correct(evaluation)
        if drawn is not None:
            key, (ids, hits) = evaluation_key(evaluation), drawn
            correct.setdefault(tuple(key[name] for name in GROUP), {})[evaluation.run.seed] = hits
            # Pairs are of the same queries: all models of a data set's size and seed have these.
            place = (*(key[name] for name in ("dataset", "size", "evaluation_set")), evaluation.run.seed)
            other_file, others = queries.setdefault(place, (evaluation.predictions, ids))
            if not np.array_equal(ids, others):
                raise LookalikeError(
                    f"{evaluation.predictions} and {other_file} are of other queries; delete both and run again."
                )
    baseline, mode = _baseline(plan)
    rows: list[dict[str, object]] = []
    for group, by_seed in correct.items():
        names = dict(zip(GROUP, group, strict=True))
        other = tuple({**names, "model": baseline, "mode": mode}.values())
        if group == other or other not in correct:
            continue
        seeds = sorted(by_seed)
        paired = compare_paired([by_seed[seed] for seed in seeds], [correct[other][seed] for seed in seeds])
        rows.append(
            {
                **names,
                **summary_columns("difference", paired.difference),
                "only_this": paired.only_first,
                "only_baseline": paired.only_second,
                "mcnemar_p": paired.p_value,
                "seeds": len(seeds),
            }
        )
    columns = [*GROUP, *summary_columns("difference", summarise_seeds(np.zeros(1)))]
    numbers = pd.DataFrame(rows, columns=[*columns, "only_this", "only_baseline", "mcnemar_p", "seeds"])
    shown = add_cells(
        heading_columns(numbers),
        numbers,
        [
            Column("difference", "Difference (points)", 100, 2),
            Column("only_this", "Only this right", plain=".1f"),
            Column("only_baseline", "Only baseline right", plain=".1f"),
            Column("mcnemar_p", "McNemar p", plain=".3f"),
        ],
    )
    caption = (
        f"Accuracy against {baseline} ({mode}) on the same queries: mean difference and 95 % t interval "
        "over seeds, queries per seed that only one classifier gets right, largest exact McNemar p over seeds; in mode "
        "draws all three are over memories too."
    )
    return TableContent(numbers, shown, caption)


def _correct(evaluation: Evaluation) -> tuple[np.ndarray, np.ndarray] | None:
    """Ids (queries,), and which of them got their class (draws, queries); None where nothing is classified."""
    from lookalike.reporting.collect import read_predictions

    frame = read_predictions(evaluation)
    if "predicted" not in frame:
        return None
    draws = frame.draw.nunique() if "draw" in frame else 1
    frame = frame.sort_values(["draw", "id"] if draws > 1 else "id")
    hits = (frame.label == frame.predicted).to_numpy().reshape(draws, -1)
    return frame.id.to_numpy()[: hits.shape[1]], hits


def _baseline(plan: Plan) -> Any:
    """The model that others are compared with, and its mode."""
    return [plan.baseline_model, plan.models[plan.baseline_model].modes[0]]


COMPARISON = Table(
    name="comparison",
    label="models compared on the same queries",
    reads=(PREDICTIONS,),
    draw=draw_comparison,
    place=40,
    settings=_baseline,
)
