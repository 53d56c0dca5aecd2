"""Tables of a study: CSV for machines, LaTeX (booktabs) for papers, Markdown for reading."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from lookalike.evaluation.collect import read_predictions
from lookalike.evaluation.statistics import Summary, compare_paired, summarise_seeds
from lookalike.files import write_text, writing
from lookalike.plan import Plan

GROUP = ["dataset", "size", "model", "mode", "evaluation_set"]
SHOWN_CLASSES = 20
LIMITS = {
    "accuracy": (0.0, 1.0),
    "top5": (0.0, 1.0),
    "real_accuracy": (0.0, 1.0),
    "ece": (0.0, 1.0),
    "adaptive_ece": (0.0, 1.0),
    "nll": (0.0, np.inf),
    "brier": (0.0, 2.0),
}


def read_metrics(plan: Plan, name: str = "metrics") -> pd.DataFrame:
    """A file of `collect_metrics`, rows in the order of the study."""
    return pd.read_csv(plan.folder / "tables" / f"{name}.csv", dtype={"size": str})


def over_seeds(frame: pd.DataFrame, metrics: list[str], group: list[str]) -> pd.DataFrame:
    """Mean, std and 95 % interval of each metric over seeds, one row a group, order kept."""
    rows = []
    for key, part in frame.groupby(group, sort=False):
        row: dict[str, Any] = dict(zip(group, key, strict=True))
        for metric in metrics:
            row |= _columns(metric, summarise_seeds(part[metric].to_numpy()))
        row["seeds"] = len(part)
        rows.append(row)
    return pd.DataFrame(rows)


def _columns(name: str, summary: Summary) -> dict[str, float]:
    return {
        name: summary.mean,
        f"{name}_std": summary.std,
        f"{name}_low": summary.low,
        f"{name}_high": summary.high,
    }


def possible(metric: str, low: float, high: float) -> tuple[float, float]:
    """The part of an interval that the metric can take."""
    least, most = LIMITS.get(metric, (-np.inf, np.inf))
    return max(low, least), min(high, most)


def interval(row: pd.Series, metric: str, scale: float, digits: int) -> str:
    """`98.80 [98.37, 99.23]`: mean and 95 % interval over seeds; only the mean for one seed.

    Intervals end where the metric does; the CSV has them as computed.
    """
    low, high = possible(metric, row[f"{metric}_low"], row[f"{metric}_high"])
    mean, low, high = f"{row[metric] * scale:.{digits}f}", low * scale, high * scale
    return mean if np.isnan(row[f"{metric}_low"]) else f"{mean} [{low:.{digits}f}, {high:.{digits}f}]"


def table_accuracy(plan: Plan) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """Accuracy, top-5 and ECE of every model and mode."""
    frame = read_metrics(plan)
    metrics = {"accuracy": "Accuracy (%)", "top5": "Top-5 (%)", "ece": "ECE (%)"}
    if "real_accuracy" in frame:
        metrics["real_accuracy"] = "ReaL accuracy (%)"
    numbers = over_seeds(frame, list(metrics), GROUP)
    shown = _labels(numbers)
    for metric, heading in metrics.items():
        shown[heading] = [interval(row, metric, 100, 2) for _, row in numbers.iterrows()]
    return numbers, shown, f"Accuracy and calibration error: mean over seeds and 95 % t interval. Study {plan.study}."


def table_calibration(plan: Plan) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """Calibration and likelihood of every model and mode."""
    metrics = {
        "ece": ("ECE (%)", 100, 2),
        "adaptive_ece": ("Adaptive ECE (%)", 100, 2),
        "nll": ("NLL (nats)", 1, 4),
        "brier": ("Brier score", 1, 4),
    }
    numbers = over_seeds(read_metrics(plan), list(metrics), GROUP)
    shown = _labels(numbers)
    for metric, (heading, scale, digits) in metrics.items():
        shown[heading] = [interval(row, metric, scale, digits) for _, row in numbers.iterrows()]
    return numbers, shown, f"Calibration and likelihood: mean over seeds and 95 % t interval. Study {plan.study}."


def table_per_class(plan: Plan) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """Accuracy of each class, every model and mode; its spread over classes where they do not fit a page."""
    numbers = over_seeds(read_metrics(plan, "class_metrics"), ["accuracy"], [*GROUP, "label"])
    if numbers["label"].nunique() > SHOWN_CLASSES:
        rows = []
        for key, part in numbers.groupby(GROUP, sort=False):
            percent = np.quantile(part["accuracy"], [0, 0.1, 0.5, 1]) * 100
            rows.append([*key, *(f"{value:.1f}" for value in percent)])
        text = pd.DataFrame(rows, columns=[*GROUP, "lowest class", "10th percentile", "median", "highest class"])
        caption = f"Spread of accuracy over classes (%), mean over seeds; the CSV has every class. Study {plan.study}."
        return numbers, _labels(text).join(text.drop(columns=GROUP)), caption
    shown = numbers.copy()
    shown["accuracy"] = (shown["accuracy"] * 100).map("{:.1f}".format)
    shown = shown.pivot(index=GROUP, columns="label", values="accuracy")
    shown = shown.reindex(pd.MultiIndex.from_frame(numbers[GROUP].drop_duplicates())).reset_index()
    return (
        numbers,
        _labels(shown).join(shown.drop(columns=GROUP)),
        (f"Accuracy by class (%), mean over seeds. Study {plan.study}."),
    )


def table_comparison(plan: Plan) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """Every model and mode against the baseline, on the same queries of the same seeds."""
    hits: dict[tuple[str, str, str, str, str], dict[int, np.ndarray]] = {}
    for evaluation in plan.evaluations():
        run = evaluation.run
        key = (run.dataset, run.size, run.model, evaluation.mode, evaluation.split)
        frame = read_predictions(evaluation).sort_values("id")
        hits.setdefault(key, {})[run.seed] = (frame.label == frame.predicted).to_numpy()
    base_mode = plan.models[plan.baseline]["modes"][0]
    rows: list[dict[str, object]] = []
    for key, by_seed in hits.items():
        base = (key[0], key[1], plan.baseline, base_mode, key[4])
        if key == base:
            continue
        seeds = sorted(by_seed)
        found = compare_paired([by_seed[s] for s in seeds], [hits[base][s] for s in seeds])
        rows.append(
            {
                **dict(zip(GROUP, key, strict=True)),
                **_columns("difference", found.difference),
                "only_this": found.only_first,
                "only_baseline": found.only_second,
                "mcnemar_p": found.p_value,
                "seeds": len(seeds),
            }
        )
    columns = [*GROUP, *_columns("difference", summarise_seeds(np.zeros(1)))]
    numbers = pd.DataFrame(rows, columns=[*columns, "only_this", "only_baseline", "mcnemar_p", "seeds"])
    shown = _labels(numbers)
    shown["Difference (points)"] = [interval(row, "difference", 100, 2) for _, row in numbers.iterrows()]
    shown["Only this right"] = numbers["only_this"].map("{:.1f}".format)
    shown["Only baseline right"] = numbers["only_baseline"].map("{:.1f}".format)
    shown["McNemar p"] = numbers["mcnemar_p"].map("{:.3f}".format)
    caption = (
        f"Accuracy against {plan.baseline} ({base_mode}) on the same queries: mean difference and 95 % t interval "
        "over seeds, queries per seed that only one classifier gets right, largest exact McNemar p over seeds."
    )
    return numbers, shown, caption


def _labels(frame: pd.DataFrame) -> pd.DataFrame:
    """Heading columns; a column that never varies is left out."""
    headings = {
        "dataset": "Data set",
        "size": "Size",
        "model": "Model",
        "mode": "Mode",
        "evaluation_set": "Evaluated on",
    }
    kept = [name for name in GROUP if name in ("model", "mode") or frame[name].nunique() > 1]
    return frame[kept].rename(columns=headings)


TABLES: dict[str, Callable[[Plan], tuple[pd.DataFrame, pd.DataFrame, str]]] = {
    "accuracy": table_accuracy,
    "calibration": table_calibration,
    "per_class": table_per_class,
    "comparison": table_comparison,
}


def draw_table(plan: Plan, name: str) -> None:
    """Write results/<study>/tables/<name>.csv, .tex and .md."""
    numbers, shown, caption = TABLES[name](plan)
    path = plan.folder / "tables" / name
    with writing(path.with_suffix(".csv")) as temporary:
        numbers.to_csv(temporary, index=False, lineterminator="\n")
    write_text(path.with_suffix(".md"), as_markdown(shown, caption))
    write_text(path.with_suffix(".tex"), as_latex(shown, caption, f"tab:{plan.study}-{name}".replace("_", "-")))


def as_markdown(shown: pd.DataFrame, caption: str) -> str:
    """A pipe table with its caption below."""
    rows = [list(map(str, shown.columns)), ["---"] * len(shown.columns)]
    rows += [[str(value) for value in row] for row in shown.itertuples(index=False)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + f"\n\n{caption}\n"


def as_latex(shown: pd.DataFrame, caption: str, label: str) -> str:
    """A booktabs table."""
    escaped = shown.rename(columns=lambda name: _escape(str(name)))
    style = escaped.style.hide(axis="index").format(lambda value: _escape(str(value)))
    text: str = style.to_latex(
        hrules=True,
        caption=_escape(caption),
        label=label,
        position_float="centering",
        column_format="l" * len(shown.columns),
    )
    return text


def _escape(text: str) -> str:
    for plain, latex in (("&", r"\&"), ("%", r"\%"), ("_", r"\_"), ("#", r"\#")):
        text = text.replace(plain, latex)
    return text
