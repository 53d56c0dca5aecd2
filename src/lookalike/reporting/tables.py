"""Tables of a study: CSV for machines, LaTeX (booktabs) for papers, Markdown for reading."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from lookalike.evaluation.collect import read_predictions
from lookalike.evaluation.statistics import compare_paired, summarise_seeds
from lookalike.files import write_text, writing
from lookalike.plan import Plan
from lookalike.reporting.human_tables import (
    table_classifier_pairs,
    table_classifiers,
    table_human_accuracy,
    table_human_clean,
    table_human_contrasts,
    table_human_difficulty,
    table_human_sensitivity,
    table_human_team,
)
from lookalike.reporting.memory_tables import (
    table_counterfactuals,
    table_explanations,
    table_non_representativeness,
)
from lookalike.reporting.patch_tables import table_correspondences
from lookalike.reporting.prototype_tables import table_prototypes
from lookalike.reporting.summaries import (
    GROUP,
    heading_columns,
    interval,
    of_several_sizes,
    over_seeds,
    possible,
    read_densities,
    read_metrics,
    summary_columns,
)

SHOWN_CLASSES = 20


def table_accuracy(plan: Plan) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """Accuracy, top-5 and ECE of every model and mode."""
    frame = read_metrics(plan)
    metrics = {"accuracy": "Accuracy (%)", "top5": "Top-5 (%)", "ece": "ECE (%)"}
    if "real_accuracy" in frame:
        metrics["real_accuracy"] = "ReaL accuracy (%)"
    numbers = over_seeds(frame, list(metrics), GROUP)
    shown = heading_columns(numbers)
    for metric, heading in metrics.items():
        shown[heading] = [interval(row, metric, 100, 2) for _, row in numbers.iterrows()]
    return numbers, shown, f"Accuracy and calibration error: mean over seeds and 95 % t interval. Study {plan.study}."


def table_calibration(plan: Plan) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """Calibration and likelihood of every model and mode."""
    metrics = {
        "ece": ("ECE (%)", 100, 2),
        "ece_tempered": ("ECE, tempered (%)", 100, 2),
        "adaptive_ece": ("Adaptive ECE (%)", 100, 2),
        "nll": ("NLL (nats)", 1, 4),
        "brier": ("Brier score", 1, 4),
    }
    frame = read_densities(plan)
    if "bits_per_dim" in frame:  # of methods that model the images themselves
        metrics["bits_per_dim"] = ("Bits/dim", 1, 3)
    numbers = over_seeds(frame, list(metrics), GROUP)
    shown = heading_columns(numbers)
    for metric, (heading, scale, digits) in metrics.items():
        shown[heading] = [interval(row, metric, scale, digits) for _, row in numbers.iterrows()]
    caption = (
        "Calibration and likelihood: mean over seeds and 95 % t interval. Tempered: the logarithms of probabilities "
        "divided by a number fitted on one half of the queries and used on the other, both ways round. "
        f"Study {plan.study}."
    )
    return numbers, shown, caption


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
        return numbers, heading_columns(text).join(text.drop(columns=GROUP)), caption
    shown = numbers.copy()
    shown["accuracy"] = (shown["accuracy"] * 100).map("{:.1f}".format)
    shown = shown.pivot(index=GROUP, columns="label", values="accuracy")
    shown = shown.reindex(pd.MultiIndex.from_frame(numbers[GROUP].drop_duplicates())).reset_index()
    return (
        numbers,
        heading_columns(shown).join(shown.drop(columns=GROUP)),
        (f"Accuracy by class (%), mean over seeds. Study {plan.study}."),
    )


def table_comparison(plan: Plan) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """Every model and mode against the baseline, on the same queries of the same seeds."""
    hits: dict[tuple[str, str, str, str, str], dict[int, np.ndarray]] = {}
    for evaluation in plan.evaluations():
        run = evaluation.run
        key = (run.dataset, run.size, run.model, evaluation.mode, evaluation.split)
        frame = read_predictions(evaluation)
        if "predicted" not in frame:
            continue
        draws = frame.draw.nunique() if "draw" in frame else 1
        frame = frame.sort_values(["draw", "id"] if draws > 1 else "id")
        hits.setdefault(key, {})[run.seed] = (frame.label == frame.predicted).to_numpy().reshape(draws, -1)
    base_mode = plan.models[plan.baseline]["modes"][0]
    rows: list[dict[str, object]] = []
    for key, by_seed in hits.items():
        base = (key[0], key[1], plan.baseline, base_mode, key[4])
        if key == base or base not in hits:
            continue
        seeds = sorted(by_seed)
        found = compare_paired([by_seed[s] for s in seeds], [hits[base][s] for s in seeds])
        rows.append(
            {
                **dict(zip(GROUP, key, strict=True)),
                **summary_columns("difference", found.difference),
                "only_this": found.only_first,
                "only_baseline": found.only_second,
                "mcnemar_p": found.p_value,
                "seeds": len(seeds),
            }
        )
    columns = [*GROUP, *summary_columns("difference", summarise_seeds(np.zeros(1)))]
    numbers = pd.DataFrame(rows, columns=[*columns, "only_this", "only_baseline", "mcnemar_p", "seeds"])
    shown = heading_columns(numbers)
    shown["Difference (points)"] = [interval(row, "difference", 100, 2) for _, row in numbers.iterrows()]
    shown["Only this right"] = numbers["only_this"].map("{:.1f}".format)
    shown["Only baseline right"] = numbers["only_baseline"].map("{:.1f}".format)
    shown["McNemar p"] = numbers["mcnemar_p"].map("{:.3f}".format)
    caption = (
        f"Accuracy against {plan.baseline} ({base_mode}) on the same queries: mean difference and 95 % t interval "
        "over seeds, queries per seed that only one classifier gets right, largest exact McNemar p over seeds; in mode "
        "draws all three are over memories too."
    )
    return numbers, shown, caption


def table_outliers(plan: Plan) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """How well each score of each model tells images of another data set from its own."""
    numbers = over_seeds(read_metrics(plan, "outlier_metrics"), ["auroc", "fpr95"], [*GROUP, "score"])
    shown = heading_columns(numbers)
    shown["Score"] = numbers["score"].str.replace("_", " ")
    for metric, heading in (("auroc", "AUROC (%)"), ("fpr95", "FPR95 (%)")):
        shown[heading] = [interval(row, metric, 100, 2) for _, row in numbers.iterrows()]
    caption = (
        "Telling images of another data set from the test images of its own, each model in its first mode: area under "
        "the ROC curve (50 % is chance), and outliers that pass where 95 % of the test images do; mean over seeds and "
        f"95 % t interval. Study {plan.study}."
    )
    return numbers, shown, caption


def table_size(plan: Plan) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """Accuracy of every model and mode by number of training images; the best of a column in bold."""
    numbers = over_seeds(of_several_sizes(read_metrics(plan)), ["accuracy"], GROUP)
    best = numbers.groupby(["dataset", "size", "evaluation_set"])["accuracy"].transform("max")
    cells = []
    for (_, row), top in zip(numbers.iterrows(), best, strict=True):
        low, high = possible("accuracy", row["accuracy_low"], row["accuracy_high"])
        text = f"{row['accuracy'] * 100:.2f}"
        if not np.isnan(row["accuracy_low"]):
            text += f" \N{PLUS-MINUS SIGN} {row['accuracy_std'] * 100:.2f} [{low * 100:.2f}, {high * 100:.2f}]"
        cells.append(f"**{text}**" if row["accuracy"] == top else text)
    group = [name for name in GROUP if name != "size"]
    shown = numbers.assign(cell=cells).pivot(index=group, columns="size", values="cell").fillna("")
    shown = shown.reindex(pd.MultiIndex.from_frame(numbers[group].drop_duplicates())).reset_index()
    sizes = [size for size in plan.sizes if size in shown]
    headings = {size: size if size == "all" else f"{size} images" for size in sizes}
    labels = heading_columns(shown.assign(size="")).drop(columns="Size", errors="ignore")
    caption = (
        "Accuracy (%) by number of training images: mean, standard deviation and 95 % t interval over seeds; the best "
        f"of each column in bold. Study {plan.study}."
    )
    return numbers, labels.join(shown[sizes].rename(columns=headings)), caption


TABLES: dict[str, Callable[[Plan], tuple[pd.DataFrame, pd.DataFrame, str]]] = {
    "accuracy": table_accuracy,
    "calibration": table_calibration,
    "per_class": table_per_class,
    "comparison": table_comparison,
    "outliers": table_outliers,
    "size": table_size,
    "explanations": table_explanations,
    "non_representativeness": table_non_representativeness,
    "counterfactuals": table_counterfactuals,
    "correspondences": table_correspondences,
    "prototypes": table_prototypes,
    "human_accuracy": table_human_accuracy,
    "human_difficulty": table_human_difficulty,
    "human_sensitivity": table_human_sensitivity,
    "human_contrasts": table_human_contrasts,
    "human_clean": table_human_clean,
    "human_team": table_human_team,
    "classifiers": table_classifiers,
    "classifier_pairs": table_classifier_pairs,
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
    style = escaped.style.hide(axis="index").format(lambda value: _bold(_escape(str(value))))
    text: str = style.to_latex(
        hrules=True,
        caption=_escape(caption),
        label=label,
        position_float="centering",
        column_format="l" * len(shown.columns),
    )
    return text


def _bold(text: str) -> str:
    """Bold text of Markdown in LaTeX."""
    return rf"\textbf{{{text[2:-2]}}}" if text.startswith("**") and text.endswith("**") else text


def _escape(text: str) -> str:
    for plain, latex in (("&", r"\&"), ("%", r"\%"), ("_", r"\_"), ("#", r"\#"), ("\N{PLUS-MINUS SIGN}", r"$\pm$")):
        text = text.replace(plain, latex)
    return text
