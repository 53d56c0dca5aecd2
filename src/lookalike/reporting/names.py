"""Names and files of tables and figures, for the workflow to know without drawing anything."""

from __future__ import annotations

from pathlib import Path

from lookalike.plan import Evaluation, Plan
from lookalike.reporting.published import published_rows

TABLE_FORMATS = ("csv", "tex", "md")
FIGURE_FORMATS = ("svg", "pdf", "png")
TABLE_NAMES = ("accuracy", "calibration", "per_class", "comparison")
METHODS_WITH_INFLUENCE = ("nw",)
METHODS_WITH_PATCHES = ("emd_corr", "chm_corr")
METHODS_WITH_PROTOTYPES = ("protoflow",)
METHODS_WITH_MEMORY = ("memory_wrap", "baseline_memory")


WRITTEN = {"ai": "AI", "cub": "CUB", "imagenet": "ImageNet", "real": "ReaL", "top1": "top-1", "svhn": "SVHN"}


def heading(name: str) -> str:
    """`human_accuracy_by_ai_cub` as a heading: Human accuracy by AI CUB."""
    text = " ".join(WRITTEN.get(word, word) for word in name.split("_"))
    return text[:1].upper() + text[1:]


def table_names(plan: Plan) -> list[str]:
    """Every table of a study."""
    with_memory = any(settings["method"] in METHODS_WITH_MEMORY for settings in plan.models.values())
    scored = any(True for _ in plan.counterfactuals())
    return [
        *TABLE_NAMES,
        *["outliers"] * any(True for _ in plan.outliers()),
        *["size"] * _by_size(plan),
        *["explanations", "non_representativeness"] * with_memory,
        *["counterfactuals"] * scored,
        *["correspondences"] * any(True for _ in plan.correspondences()),
        *["prototypes"] * any(True for _ in plan.prototypes()),
        *released_tables(plan),
    ]


def released_tables(plan: Plan) -> list[str]:
    """Tables of people's responses and of the classifiers' released outputs."""
    entries = list(plan.human_studies.values())
    responses = any(entry["trials"] for entry in entries)
    return [
        *["human_accuracy", "human_difficulty", "human_sensitivity", "human_contrasts", "human_clean"] * responses,
        *["human_team"] * any(entry["tuning_images"] for entry in entries),
        *["classifiers", "classifier_pairs"] * any(entry["classifier_outputs"] for entry in entries),
    ]


def released_figures(plan: Plan) -> list[str]:
    """Figures of the same."""
    entries = list(plan.human_studies.values())
    responses = any(entry["trials"] for entry in entries)
    return [
        *["human_accuracy", "human_contrasts", "human_sensitivity"] * responses,
        *["human_team"] * any(entry["tuning_images"] for entry in entries),
        *["classifiers"] * any(entry["classifier_outputs"] for entry in entries),
    ]


def _by_size(plan: Plan) -> bool:
    """Whether any model is trained on more than one number of images."""
    cells = [(dataset, model) for dataset, model, _ in plan.cells()]
    return len(set(cells)) < len(cells)


def table_paths(plan: Plan, name: str) -> list[Path]:
    """The files of a table."""
    return [plan.folder / "tables" / f"{name}.{suffix}" for suffix in TABLE_FORMATS]


def shown_explanations(plan: Plan) -> dict[str, Evaluation]:
    """Drawn explanations, those of the first seed: `digits-nw-all-full-test` -> evaluation."""
    return {
        "-".join((e.run.dataset, e.run.model, e.run.size, e.mode, e.split)): e
        for e in plan.explanations(plan.seeds[:1])
    }


def figure_names(plan: Plan) -> list[str]:
    """Every figure of a study."""
    shown = shown_explanations(plan)
    methods = {name: e.run.settings["method"] for name, e in shown.items()}
    with_memory = [name for name, method in methods.items() if method in METHODS_WITH_MEMORY]
    with_heat_maps = [name for name in with_memory if shown[name].run.settings["inference"]["heat_maps"]]
    with_patches = [name for name, method in methods.items() if method in METHODS_WITH_PATCHES]
    with_prototypes = [name for name, method in methods.items() if method in METHODS_WITH_PROTOTYPES]
    in_pictures = {*with_memory, *with_patches, *with_prototypes}  # by figures of their own
    trained = any(run.trained for run in plan.runs())
    return [
        "accuracy",
        "reliability",
        *["learning_curves"] * trained,
        *["size"] * _by_size(plan),
        *(f"weights-{name}" for name in shown if name not in in_pictures),
        *(f"influence-{name}" for name, method in methods.items() if method in METHODS_WITH_INFLUENCE),
        *(f"memory-{name}" for name in with_memory),
        *(f"heat_maps-{name}" for name in with_heat_maps),
        *(f"{kind}-{name}" for kind in ("correspondences", "flow") for name in with_patches),
        *(f"{kind}-{name}" for kind in ("looks_like", "prototypes", "between") for name in with_prototypes),
        *released_figures(plan),
        *["published"] * any(a.is_in(plan) for row in published_rows(plan) for a in row.addresses),
    ]


def figure_paths(plan: Plan, name: str) -> list[Path]:
    """The files of a figure."""
    return [plan.folder / "figures" / f"{name}.{suffix}" for suffix in FIGURE_FORMATS]
